// The examples of lib/lock/README.md as programs that a user could have written.

/** The addresses in the README, each with that of a real server. */
export type Addresses = Readonly<Record<string, string>>;

const imports = /^import (?<names>.*) from (?<module>'[^']*');\n/gm;

/** Returns one program of all examples in TypeScript: each has a scope, and sees what the first one declares. */
export function typescriptProgram(readme: string, addresses: Addresses): string {
  const examples = examplesIn(readme, 'ts', addresses);
  const lines = new Set(examples.flatMap((example) => example.match(imports) ?? []));
  const [first = '', ...others] = examples.map((example) => example.replace(imports, ''));
  return [...lines, mainOf([first, ...others.map((example) => `{\n${example}}\n`)].join(''))].join(
    '',
  );
}

/** Returns a program for each example in JavaScript, as an ES module. */
export function modulePrograms(readme: string, addresses: Addresses): string[] {
  return examplesIn(readme, 'js', addresses);
}

/** Returns the same programs as CommonJS, which has no `import` and no `await` at its top. */
export function commonJsPrograms(readme: string, addresses: Addresses): string[] {
  return examplesIn(readme, 'js', addresses).map((example) => {
    const required = [...example.matchAll(imports)].map(
      ({ groups }) => `const ${groups?.names} = require(${groups?.module});\n`,
    );
    return [...required, mainOf(example.replace(imports, ''))].join('');
  });
}

function mainOf(body: string): string {
  return `async function main() {\n${body}}\nmain();\n`;
}

function examplesIn(readme: string, language: string, addresses: Addresses): string[] {
  const blocks = readme.matchAll(/^```(?<language>\w+)\n(?<code>[\s\S]*?)^```/gm);
  return [...blocks]
    .filter(({ groups }) => groups?.language === language)
    .map(({ groups }) => withAddresses(groups?.code ?? '', addresses));
}

function withAddresses(code: string, addresses: Addresses): string {
  return Object.entries(addresses).reduce(
    (text, [written, real]) => text.replaceAll(`'${written}'`, JSON.stringify(real)),
    code,
  );
}
