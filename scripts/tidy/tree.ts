import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join, relative } from 'node:path';
import type { SourcePart } from './source-text.ts';
import { lineAt, sourceParts } from './source-text.ts';

/** A text file of the tree, split into parts if it is a program. */
export interface TextFile {
  readonly path: string;
  readonly source: string;
  readonly isProgram: boolean;
  readonly isMarkdown: boolean;
  readonly parts: readonly SourcePart[];
}

export interface Finding {
  readonly rule: string;
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export interface Tree {
  readonly root: string;
  readonly files: readonly TextFile[];
  /** Every file below the root that git knows or would add. */
  readonly paths: ReadonlySet<string>;
}

const textEndings = new Set('.ts .mjs .md .json .pml .service .socket .yml .sh .txt'.split(' '));
const unread = /^(package-lock\.json|LICENSE)$|^scripts\/tidy\/banned-phrases\.txt$/;

export function readTree(root: string): Tree {
  const paths = pathsBelow(root).filter((path) => existsSync(join(root, path)));
  const files = paths
    .filter((path) => !unread.test(path))
    .filter((path) => textEndings.has(extname(path)) || extname(path) === '')
    .map((path) => textFile(path, readFileSync(join(root, path), 'utf8')));
  return { root, files, paths: new Set(paths) };
}

/** Lists the files that git knows or would add; without git, all but installed and built ones. */
export function pathsBelow(root: string): string[] {
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 } as const;
  if (existsSync(join(root, '.git'))) {
    const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
    return execFileSync('git', args, options)
      .split('\0')
      .filter((path) => path !== '');
  }
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/(^|\/)(node_modules|dist)\//.test(path));
}

export function textFile(path: string, source: string): TextFile {
  const isProgram = /\.(ts|mjs)$/.test(path);
  return {
    path,
    source,
    isProgram,
    isMarkdown: path.endsWith('.md'),
    parts: isProgram ? [...sourceParts(source)] : [{ kind: 'comment', text: source, start: 0 }],
  };
}

/** A finding at an index of a file, unless its line or the line before opts out with a reason. */
export function* findingAt(
  rule: string,
  { path, source }: TextFile,
  index: number,
  message: string,
): Generator<Finding> {
  const line = lineAt(source, index);
  const lines = source.split('\n').slice(Math.max(0, line - 2), line);
  if (lines.some((text) => /tidy-ok: \S+ \S+/.test(text))) return;
  yield { rule, path, line, message };
}
