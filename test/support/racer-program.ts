// Exchanges names in a directory with others, as fast as it can, until it is killed: DIRECTORY OUTSIDE. For
// each directory dN there is a link lN to OUTSIDE, for each file fN a link kN to OUTSIDE/file, for each fifo pN a
// file qN, and a tree in mN that moves to nN and back.
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';

const [directory = '', outside = ''] = process.argv.slice(2);
const pairs = 30;
const current = -100;
const exchange = 2;
const renameat2 = koffi
  .load(null)
  .func(
    'int renameat2(int from, const char *name, int to, const char *newName, unsigned int flags)',
  );

process.chdir(directory);
for (let index = 0; index < pairs; index++) {
  mkdirSync(`d${index}`);
  writeFileSync(join(`d${index}`, 'file'), 'inside');
  symlinkSync(outside, `l${index}`);
  writeFileSync(`f${index}`, 'inside');
  symlinkSync(join(outside, 'file'), `k${index}`);
  execFileSync('mkfifo', [`p${index}`]);
  writeFileSync(`q${index}`, 'inside');
  mkdirSync(`m${index}/deep/deeper`, { recursive: true });
  writeFileSync(`m${index}/deep/deeper/file`, 'inside');
  mkdirSync(`n${index}`);
}
process.stdout.write('racing\n');
const kinds = [
  ['d', 'l'],
  ['f', 'k'],
  ['p', 'q'],
] as const;
for (;;) {
  for (let index = 0; index < pairs; index++) {
    for (const [one, other] of kinds) {
      renameat2(current, `${one}${index}`, current, `${other}${index}`, exchange);
    }
    renameat2(current, `m${index}/deep`, current, `n${index}/deep`, 0);
    renameat2(current, `n${index}/deep`, current, `m${index}/deep`, 0);
  }
}
