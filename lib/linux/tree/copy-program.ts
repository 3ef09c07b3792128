// Copies one directory and ends: FROM TO. Its calls block, and a file system that does not answer keeps it
// alone; SIGKILL ends it at any point, and leaves a part of TO. It says on standard output how far it is, and
// why it failed on standard error.
import { writeSync } from 'node:fs';
import type { Copied } from './copy.ts';
import { copyTree } from './copy.ts';
import { progressLine } from './program.ts';

const reportEveryMs = 100;

process.title = 'berth-copy'; // The name in ps and in /proc.
process.umask(0);
const [from = '', to = ''] = process.argv.slice(2);
let reportedAt = Number.NEGATIVE_INFINITY;

try {
  const all = copyTree(from, to, { onProgress });
  writeSync(1, progressLine(all));
} catch (error) {
  writeSync(2, `${Error.isError(error) ? error.message : error}\n`);
  process.exitCode = 1;
}

function onProgress(copied: Copied): void {
  const now = performance.now();
  if (now - reportedAt < reportEveryMs) return;
  reportedAt = now;
  writeSync(1, progressLine(copied));
}
