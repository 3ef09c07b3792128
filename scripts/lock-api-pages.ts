/**
 * Makes the API pages of the package `@berth/lock` from its types: one page for each entry, with each
 * name that it exports, the comment of its declaration, and the declaration.
 *
 *     the types of an entry ─► the modules that it exports from ─► their declarations ─► one page
 *
 * It reads what tsc writes, where each declaration begins and ends at the start of a line. TypeScript 7
 * has no API for tools, so the usual generators do not run on it.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A name that a module exports. */
interface Declaration {
  readonly name: string;
  /** The text of the comment, without its marks. */
  readonly comment: string;
  /** The declaration with the comments of its members. */
  readonly code: string;
}

/** An entry of the package: the name to import, and the path of its types without an ending. */
export interface Entry {
  readonly module: string;
  readonly path: string;
}

/** Returns the text of each page by its name. `README.md` lists the others. */
export function apiPages(entries: readonly Entry[]): Map<string, string> {
  const pages = entries.map((entry) => ({ entry, all: declarationsOf(`${entry.path}.d.ts`) }));
  const named = pages.map(({ entry, all }) => [pageName(entry), page(entry, all)] as const);
  const rows = pages.map(({ entry, all }) => {
    const names = all.map(({ name }) => name).join(', ');
    return `| [\`${entry.module}\`](${pageName(entry)}) | ${names} |\n`;
  });
  const index = `# The API by entry\n\n| import from | names |\n|---|---|\n${rows.join('')}`;
  return new Map([['README.md', index], ...named]);
}

function pageName({ module }: Entry): string {
  return `${module.replace(/^@[^/]+\//, '').replaceAll('/', '-')}.md`;
}

function page({ module }: Entry, all: readonly Declaration[]): string {
  const sections = all.map(({ name, comment, code }) =>
    [`## ${name}\n`, comment && `${comment}\n`, `\`\`\`ts\n${code}\n\`\`\`\n`]
      .filter((part) => part !== '')
      .join('\n'),
  );
  return [`# ${module}\n`, ...sections].join('\n');
}

const reexport =
  /^export (?:type )?(?:\*|\{(?<names>[^}]*)\}) from '(?<module>\.[^']*)\.js';$|^export (?:type )?\{(?<own>[^}]*)\};$/gm;

/** Returns what a module exports, in its order; what another library declares is left out. */
function declarationsOf(path: string): Declaration[] {
  const text = readFileSync(path, 'utf8');
  const others = [...text.matchAll(reexport)].flatMap(({ groups }) => {
    if (groups?.module === undefined) return [];
    const all = declarationsOf(join(dirname(path), `${groups.module}.d.ts`));
    const names = groups.names?.split(',').map((name) => name.trim());
    return names ? all.filter(({ name }) => names.includes(name)) : all;
  });
  return [...others, ...ownDeclarations(text)];
}

const beginning =
  /^export (?:declare )?(?:abstract )?(?:class|interface|type|function|const) (?<name>\w+)/;

/** Returns the declarations in the text of one module. */
function ownDeclarations(text: string): Declaration[] {
  const found: Declaration[] = [];
  let comment: string[] = [];
  let code: string[] = [];
  for (const line of text.split('\n')) {
    if (code.length > 0) code.push(line);
    else if (line.startsWith('/**')) comment = [line];
    else if (/^ \*/.test(line)) comment.push(line);
    else if (beginning.test(line)) code = [line];
    else comment = [];
    const isWhole = code.length > 0 && /^\}|;$/.test(line) && isBalanced(code);
    if (!isWhole) continue;
    found.push(declaration(comment, code));
    [comment, code] = [[], []];
  }
  return found;
}

function isBalanced(code: readonly string[]): boolean {
  const all = code.filter((line) => !/^\s*(?:\/\*\*|\*)/.test(line)).join('\n');
  const count = (pattern: RegExp) => all.match(pattern)?.length ?? 0;
  return count(/[{([]/g) === count(/[})\]]/g);
}

function declaration(comment: readonly string[], code: readonly string[]): Declaration {
  const shown = code.filter((line) => !/^ {4}(?:#private;|private )/.test(line));
  return {
    name: beginning.exec(code[0] ?? '')?.groups?.name ?? '',
    comment: plain(comment),
    code: shown.join('\n').replace(/^export (?:declare )?/, ''),
  };
}

/** Removes the marks of a comment. */
function plain(comment: readonly string[]): string {
  return comment
    .map((line) => line.replace(/\s*\*\/$/, '').replace(/^(?:\/\*\*| \*) ?/, ''))
    .join('\n')
    .trim();
}
