import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fragmentOf } from '../../../scripts/tidy/comments.ts';
import { bannedPhrases } from '../../../scripts/tidy/phrases.ts';
import { tidyFindings } from '../../../scripts/tidy/rules.ts';
import { sourceParts } from '../../../scripts/tidy/source-text.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

let tree: TemporaryDirectory;

beforeEach(async () => {
  tree = await makeTemporaryDirectory();
  await plant('lib/room/room.ts', '/** Milliseconds since boot. */\nexport const bootMs = 1;\n');
  await plant(
    'README.md',
    '# Read me\n\nSee [the room](lib/room/room.ts), `room.ts`, [top](#read-me).\n',
  );
});

afterEach(async () => {
  await tree[Symbol.asyncDispose]();
});

async function plant(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(tree.path, path)), { recursive: true });
  await writeFile(join(tree.path, path), text);
}

const found = () =>
  tidyFindings(tree.path).map(({ rule, path, line }) => `${path}:${line} ${rule}`);

/** Put together here, so that this file keeps the rules itself. */
const bannedWords = ['in', 'vain'].join(' ');
const wrapped = ['in', 'vain'].join('\n * ');

test('a clean tree has no findings', () => {
  expect(found()).toEqual([]);
});

test.each([
  ['a comment', 'lib/room/a.ts', `// The engine was ${bannedWords} it.\n`, 1],
  [
    'a comment over two lines',
    'lib/room/a.ts',
    `\n/**\n * The engine was ${wrapped} it.\n */\n`,
    3,
  ],
  ['a message', 'lib/room/a.ts', `throw new Error(\`\${x} ${bannedWords} \${y}\`);\n`, 1],
  ['the name of a test', 'lib/room/a.test.ts', `test('it was ${bannedWords} it', () => {});\n`, 1],
  ['a document', 'docs/a.md', `# Title\n\nHosts were ${bannedWords} it.\n`, 3],
  ['a unit of systemd', 'deploy/a.service', `# ${bannedWords} it\n`, 1],
])('a banned phrase is found in %s', async (_where, path, text, line) => {
  await plant(path, text);
  expect(found()).toEqual([`${path}:${line} phrase`]);
});

test('each phrase of the list is found, and has plain words', async () => {
  for (const { pattern, plain } of bannedPhrases()) {
    expect(plain).not.toBe('');
    const text = exampleOf(pattern);
    await plant('docs/a.md', `They ${text}.\n`);
    expect({ text, found: found() }).toMatchObject({
      text,
      found: expect.arrayContaining(['docs/a.md:1 phrase']),
    });
  }
});

/**
 * A text that the pattern of a phrase matches: its first alternatives, without what is optional.
 */
function exampleOf({ source }: RegExp): string {
  const phrase = source.slice('\\b(?:'.length, source.lastIndexOf(')(?!'));
  return phrase
    .replaceAll('\\s+', ' ')
    .replace(/\(\?![^)]*\)|\\b|\\w\*/g, '')
    .replace(/\[\^[^\]]*\]\{[^}]*\}/g, 'name')
    .replace(/\(([^|)]*)[^)]*\)/g, '$1')
    .replace(/.\?/g, '');
}

test('a line with a reason is left alone, one without is not', async () => {
  await plant('lib/room/a.ts', `// tidy-ok: the name of a product\n// ${bannedWords}\n`);
  expect(found()).toEqual([]);
  await plant('lib/room/a.ts', `// tidy-ok:\n// ${bannedWords}\n`);
  expect(found()).toEqual(['lib/room/a.ts:2 phrase']);
});

describe('a doc comment that begins like a fragment is found', () => {
  test.each([
    'Of this host, for this volume.',
    'So many times while it runs.',
    'Who waits is computed from all tickets.',
    'What an ID counts.',
    'One that is missing.',
    'Those whose volumes may run.',
    'As two columns.',
    'For what only the host may do.',
    'In its own place.',
    'Whether it runs.',
    'It has ended.',
    'By the clock of the host.',
  ])('%s', async (comment) => {
    await plant('lib/room/a.ts', `const a = 1;\n\n/** ${comment} */\nfunction b() {}\n`);
    expect(found()).toEqual(['lib/room/a.ts:3 comment']);
  });

  test.each([
    'Milliseconds since boot.',
    'Returns the count after one more Mount.',
    'Throws unless this host can prove that it holds the lock.',
    'Whether the engine runs.',
    'How long one call may take.',
    'When the lock is lost, the signal aborts.',
    'In virtual time, a second takes no time.',
    'The container is ours if its nearest ancestor runs here.',
    'True if SIGKILL is pending.',
  ])('but not: %s', (comment) => {
    expect(fragmentOf(comment)).toBeUndefined();
  });
});

test('a constant in upper case is found', async () => {
  await plant('lib/room/a.ts', "const text = 'const IN_TEXT';\nconst LIMIT_MS = 1;\n");
  expect(found()).toEqual(['lib/room/a.ts:2 constant']);
});

test('a section that a document has twice is found', async () => {
  const text = '# Title\n\n## Use\n\n### One\n\n```sh\n## Use\n```\n\n## More\n\n### One\n';
  await plant('docs/a.md', text);
  expect(found()).toEqual([]);
  await plant('docs/a.md', `${text}\n## Use\n`);
  expect(found()).toEqual(['docs/a.md:15 heading']);
});

test('a folder of more than three files without a page is found', async () => {
  for (const name of ['a', 'b', 'c']) await plant(`lib/room/${name}.ts`, '');
  expect(found()).toEqual(['lib/room:1 page']);
  const page = '/**\n * One.\n * Two.\n * Three.\n * Four.\n * Five.\n */\n';
  await plant('lib/room/room.ts', `import 'x';\n\nconst b = 1;\n\n${page}export class A {}\n`);
  expect(found()).toEqual([]);
  await plant('lib/room/room.ts', `export function a() {}\n\n${page}\n`);
  expect(found()).toEqual(['lib/room:1 page']);
  await plant('lib/room/README.md', '# Room\n');
  expect(found()).toEqual([]);
});

test('a folder of tests has its page in test/README.md', async () => {
  for (const name of ['a', 'b', 'c', 'd']) await plant(`test/e2e/room/${name}.test.ts`, '');
  expect(found()).toEqual(['test/e2e/room:1 page']);
  await plant('test/README.md', '- `e2e/room/`: tests.\n');
  expect(found()).toEqual([]);
});

test.each([
  ['a document', 'docs/a.md', '# A\n\nSee `lib/room/gone.ts`.\n', 3],
  ['a document, a folder', 'docs/a.md', 'See `lib/gone/`.\n', 1],
  ['a comment', 'lib/room/a.ts', '// As in gone.ts.\n', 1],
])('the name of a file that is not there is found in %s', async (_where, path, text, line) => {
  await plant(path, text);
  expect(found()).toEqual([`${path}:${line} file`]);
});

test.each(['gone.md', '../README.md#gone', '#gone'])('a link to %s is found', async (target) => {
  await plant('docs/a.md', `# A\n\n[there](${target})\n`);
  expect(found().filter((line) => line.endsWith('link'))).toEqual(['docs/a.md:3 link']);
});

test('comments, strings and code are separated', () => {
  const template = ['`x $', "{b ? '//' : `/*$", '{c}*/`} y`'].join('');
  const source = `const a = ${template}; // end\nif (/[/'"]\`/.test(d)) e / f;`;
  const kinds = [...sourceParts(source)].map(({ kind, start, text }) => [
    kind,
    source.slice(start, start + text.length),
  ]);
  expect(kinds.filter(([kind]) => kind === 'comment')).toEqual([['comment', '// end']]);
  expect(kinds.at(-1)).toEqual(['code', '\nif (/[/\'"]`/.test(d)) e / f;']);
  expect(kinds.map(([, text]) => text).join('')).toBe(source);
});
