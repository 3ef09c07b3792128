import { basename, dirname } from 'node:path';
import type { Finding, TextFile, Tree } from './tree.ts';

/** A folder with more source files than this opens with a page. */
const filesWithoutPage = 3;
const pageLines = 5;

/**
 * Finds folders whose reader has no place to begin. A folder's page is its README.md, or a comment
 * of five lines before the first function or class of the file named like the folder, or of index,
 * main, store, driver, app or daemon. Folders below test/ may share test/README.md, which then names
 * them; test/unit mirrors the tree and needs none.
 */
export function* pageFindings({ files, paths }: Tree): Generator<Finding> {
  const folders = Map.groupBy(
    files.filter(({ isProgram }) => isProgram),
    ({ path }) => dirname(path),
  );
  const testPage = files.find(({ path }) => path === 'test/README.md')?.source ?? '';
  for (const [folder, own] of folders) {
    if (own.length <= filesWithoutPage || paths.has(`${folder}/README.md`)) continue;
    if (folder === 'test/unit' || folder.startsWith('test/unit/')) continue;
    const isInTests = folder.startsWith('test/');
    if (isInTests && testPage.includes(`\`${folder.slice('test/'.length)}/\``)) continue;
    if (!isInTests && own.some((file) => isPage(file, folder))) continue;
    const cure = isInTests ? 'name it in test/README.md' : 'write a README.md or a head comment';
    yield { rule: 'page', path: folder, line: 1, message: `${own.length} files, no page: ${cure}` };
  }
}

const pageNames = ['index', 'main', 'store', 'driver', 'app', 'daemon'];

function isPage({ path, parts }: TextFile, folder: string): boolean {
  const name = basename(path).replace(/\.(ts|mjs)$/, '');
  if (name !== basename(folder) && !pageNames.includes(name)) return false;
  const head: string[] = [];
  for (const { kind, text } of parts) {
    if (kind === 'code' && isFunctionOrClass(text)) break;
    if (kind === 'doc' || kind === 'comment') head.push(text);
  }
  return head.some((text) => text.trim().split('\n').length >= pageLines);
}

function isFunctionOrClass(code: string): boolean {
  return /(?:\bfunction|\bclass) ?\*? [\w$]/.test(code);
}
