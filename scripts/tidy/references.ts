import { dirname, join, normalize } from 'node:path';
import type { Finding, TextFile, Tree } from './tree.ts';
import { findingAt } from './tree.ts';

const link = /\[[^\]]*\]\((?<target>[^)\s]+)\)/g;
/** A source or document by its name or path; not part of a longer path or of a glob. */
const fileName =
  /(?<![\w./*<{}-])(?<name>(?:[\w.-]+\/)*[\w.-]*\w\.(?:ts|mjs|md|pml))\b(?![\w/*{-])/g;
const folderName =
  /`(?<name>(?:bench|bin|cli|demo|deploy|docs|lib|plugin|scripts|sentinel|test)\/(?:[\w-]+\/)*[\w-]*)`/g;

/** Finds names of files and folders, and links in documents, that lead nowhere. */
export function* referenceFindings(tree: Tree): Generator<Finding> {
  const known = new Names(tree.paths);
  const anchors = new Map(
    tree.files.filter(({ isMarkdown }) => isMarkdown).map((file) => [file.path, anchorsOf(file)]),
  );
  for (const file of tree.files) {
    if (file.isMarkdown) yield* linkFindings(file, tree, anchors);
    if (file.isMarkdown || file.isProgram) yield* nameFindings(file, known);
  }
}

function* nameFindings(file: TextFile, known: Names): Generator<Finding> {
  for (const { kind, text, start } of file.parts) {
    if (kind !== 'doc' && kind !== 'comment') continue;
    for (const pattern of [fileName, folderName]) {
      for (const { groups, index } of text.matchAll(pattern)) {
        const name = groups?.name ?? '';
        // Three dots stand for a path that the reader knows.
        if (name.startsWith('...') || known.has(name, dirname(file.path))) continue;
        yield* findingAt('file', file, start + index, `${name} does not exist`);
      }
    }
  }
}

class Names {
  readonly #ends = new Set<string>();

  constructor(paths: ReadonlySet<string>) {
    for (const path of paths) {
      const names = path.split('/');
      for (let from = 0; from < names.length; from++) {
        for (let to = from + 1; to <= names.length; to++) {
          this.#ends.add(names.slice(from, to).join('/'));
        }
      }
    }
  }

  /** Whether a file or folder exists: from the root, from the folder, or as the end of a path. */
  has(name: string, folder: string): boolean {
    const plain = normalize(name).replace(/^\.\/|\/$/g, '');
    return this.#ends.has(plain) || this.#ends.has(normalize(join(folder, name)));
  }
}

function* linkFindings(
  file: TextFile,
  { paths }: Tree,
  anchors: ReadonlyMap<string, ReadonlySet<string>>,
): Generator<Finding> {
  for (const { groups, index } of file.source.matchAll(link)) {
    const target = groups?.target ?? '';
    if (/^[a-z]+:/.test(target)) continue;
    const [path = '', anchor] = target.split('#');
    const full = path === '' ? file.path : normalize(join(dirname(file.path), path));
    const isThere =
      paths.has(full) || [...paths].some((other) => other.startsWith(full.replace(/\/?$/, '/')));
    const isMissing = anchor !== undefined && !(anchors.get(full)?.has(anchor) ?? false);
    if (isThere && !isMissing) continue;
    yield* findingAt('link', file, index, `${target} leads nowhere`);
  }
}

/** The anchors that GitHub gives to headings. */
function anchorsOf({ source }: TextFile): Set<string> {
  const headings = source.matchAll(/^#+ (?<heading>.*)$/gm);
  return new Set(
    [...headings].map(({ groups }) =>
      (groups?.heading ?? '')
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
