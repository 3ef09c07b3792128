// A host that works on an image volume and stands still before its Nth step: a change of the file
// system, or a program that it runs. Started by frozen-at-each-step.test.ts as a process of its own, which stops
// itself (SIGSTOP). Prints the step.
import childProcess from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { FormerOwner } from '../../../lib/volumes/drivers/takeover.ts';

/** The work of the process. */
export interface StoppedWork {
  readonly does: 'takeover' | 'restore';
  readonly volumeDir: string;
  readonly options: Readonly<Record<string, string>>;
  readonly mountpoint: string;
  readonly former: FormerOwner;
  readonly token: number;
  /** Another host has the lock since this file is there: it stands for the store. */
  readonly lost: string;
  readonly stopBefore: number;
}

const work = JSON.parse(process.argv[2] ?? '') as StoppedWork;
let steps = 0;

function step(name: string, args: readonly unknown[]): void {
  const isOfVolume = args.flat().some((arg) => String(arg).includes(`${work.volumeDir}/image/`));
  if (!isOfVolume || args[0] === 'losetup') return; // It only lists.
  steps += 1;
  if (steps !== work.stopBefore) return;
  const words = args.flat().filter((arg) => typeof arg === 'string');
  writeSync(1, `${name} ${words.join(' ').replaceAll(`${work.volumeDir}/image/`, '')}\n`);
  process.kill(process.pid, 'SIGSTOP');
  // The signal reaches this thread a moment later.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
}

for (const name of ['mkdir', 'mkdtemp', 'link', 'rename', 'rm', 'rmdir', 'unlink', 'utimes']) {
  const original = Reflect.get(files, name);
  Reflect.set(files, name, (...args: unknown[]) => {
    step(name, args);
    return Reflect.apply(original, files, args);
  });
}
const { execFile } = childProcess;
Reflect.set(childProcess, 'execFile', (...args: unknown[]) => {
  step('run', args);
  // This host has a kernel of its own: it knows nothing of the loop devices of its successor.
  const seen = args[0] === 'losetup' ? ['true', ...args.slice(1)] : args;
  return Reflect.apply(execFile, childProcess, seen);
});
syncBuiltinESMExports();

const { imageDriver } = await import('../../../lib/volumes/drivers/image/driver.ts');
const { volumeDir, options, mountpoint, former, token } = work;
const driver = imageDriver({ volumeDir });
const volume = { name: 'db', options };
const lock = {
  token,
  confirm: async () => {
    if (existsSync(work.lost)) throw new Error('the lock is lost');
  },
};
const context = { signal: new AbortController().signal, lock };
if (work.does === 'takeover') {
  await driver.takeover?.takeOver(volume, former, context);
  await driver.mount(volume, mountpoint, context);
} else {
  await driver.restore({ volume, snapshot: 'monday' }, context);
}
process.exit(0);
