// A host that works on a volume and stands still before its Nth step: a change of the file system, a
// program that it runs, or a question to the store. Started by stopped-host.ts as a process of its own, which
// stops itself (SIGSTOP). Prints the step.
import childProcess from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import type { FormerOwner } from '../../../lib/volumes/drivers/takeover.ts';

/** The work of the process. */
export interface StoppedWork {
  readonly driver: 'image' | 'directory';
  readonly does: 'takeover' | 'restore' | 'remove' | 'snapshot';
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
  const isOfVolume = args
    .flat()
    .some((arg) => String(arg).includes(`${work.volumeDir}/${work.driver}/`));
  if (!isOfVolume || args[0] === 'losetup') return; // It only lists.
  steps += 1;
  if (steps !== work.stopBefore) return;
  const words = args.flat().filter((arg) => typeof arg === 'string');
  writeSync(1, `${name} ${words.join(' ').replaceAll(`${work.volumeDir}/${work.driver}/`, '')}\n`);
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

const { drivers } = await import('../../../lib/volumes/drivers/registry.ts');
const { volumeDir, options, mountpoint, former, token } = work;
const driver = (await drivers({ volumeDir })).get(work.driver);
if (!driver) throw new Error(`no driver ${work.driver}`);
const volume = { name: 'db', options };
const lock = {
  token,
  confirm: async () => {
    step('confirm', [`${volumeDir}/${work.driver}/`]);
    if (existsSync(work.lost)) throw new Error('the lock is lost');
  },
};
const context = { signal: new AbortController().signal, lock };
const target = { volume, snapshot: 'monday' };
const works: Record<StoppedWork['does'], () => Promise<unknown>> = {
  takeover: async () => {
    await driver.takeover?.takeOver(volume, former, context);
    await driver.mount(volume, mountpoint, context);
  },
  restore: () => driver.restore(target, context),
  remove: () => driver.remove(volume, context),
  snapshot: () => driver.snapshot(target, context),
};
await works[work.does]();
process.exit(0);
