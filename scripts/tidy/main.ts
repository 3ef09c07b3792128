/**
 * Checks what neither the compiler nor the linter checks: the words of the house (CONTRIBUTING.md),
 * that comments have a subject, that folders open with a page, that no document has a section twice,
 * and that the files and links which comments and documents name exist. Each rule is a function from the tree, or from one file of it,
 * to findings; a line opts out with `tidy-ok:` and a reason, on itself or on the line before.
 *
 * `npm run tidy` prints the findings and fails if there are any; `--report` counts them by folder.
 */
import { rules, tidyFindings } from './rules.ts';
import type { Finding } from './tree.ts';

const started = performance.now();
const args = process.argv.slice(2);
const root = args.find((arg) => !arg.startsWith('--')) ?? process.cwd();
const findings = tidyFindings(root);
if (args.includes('--report')) {
  process.stdout.write(report(findings));
} else {
  process.stdout.write(list(findings));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`tidy: ${findings.length || 'no'} findings (${seconds} s)\n`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}

function list(found: readonly Finding[]): string {
  return found
    .map(({ path, line, rule, message }) => `${path}:${line}  ${rule}  ${message}\n`)
    .join('');
}

/** A table: one row for each folder, one column for each rule. */
function report(found: readonly Finding[]): string {
  const folderOf = ({ path }: Finding) => path.split('/').slice(0, -1).slice(0, 3).join('/') || '.';
  const row = (cells: readonly string[]) =>
    `${cells.map((cell, index) => (index === 0 ? cell.padEnd(28) : cell.padStart(10))).join('')}\n`;
  const count = (own: readonly Finding[]) =>
    rules.map((rule) => `${own.filter((finding) => finding.rule === rule).length}`);
  const folders = [...Map.groupBy(found, folderOf)].sort(([one], [other]) =>
    one < other ? -1 : 1,
  );
  return [
    row(['folder', ...rules]),
    ...folders.map(([folder, own]) => row([folder, ...count(own)])),
    row(['all', ...count(found)]),
  ].join('');
}
