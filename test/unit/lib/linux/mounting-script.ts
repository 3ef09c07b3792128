// Mounts and unmounts in the directory of its argument, and writes what it saw as JSON.
import { spawn } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { currentMountsAt } from '../../../../lib/linux/mountinfo.ts';
import { addMountWords, bindMount, isBusy, unmount } from '../../../../lib/linux/mounting.ts';

const [from, at] = ['from', 'at'].map((name) => join(process.argv[2] ?? '', name)) as [
  string,
  string,
];
const { signal } = new AbortController();
let programs = 0;
for (const path of [from, at]) await mkdir(path);
await writeFile(join(from, 'file'), 'content');

const countProgram = () => {
  programs += 1;
};
subscribe('child_process', countProgram);
await bindMount(from, at, signal);
await bindMount(from, at, signal);
await addMountWords(at, ['nosuid', 'noatime'], signal);
await addMountWords(at, ['nodev', 'nosuid'], signal);
const words = (await currentMountsAt(at)).at(-1)?.options.toSorted();
const content = await readFile(join(at, 'file'), 'utf8');
await unmount(at);
const left = (await currentMountsAt(at)).length;
const usual = programs;

const user = spawn('sleep', ['60'], { cwd: at });
await once(user, 'spawn');
const busy = await failure(unmount(at));
await unmount(at, { isLazy: true });
const afterLazy = (await currentMountsAt(at)).length;
user.kill('SIGKILL');
await once(user, 'exit');

const missing = await failure(bindMount(join(from, 'nothing'), at, signal));
const unmounted = await failure(unmount(at));
const seen = { programs: usual, content, words, left, afterLazy, busy, missing, unmounted };
process.stdout.write(JSON.stringify(seen));

async function failure(work: Promise<void>) {
  try {
    await work;
    return undefined;
  } catch (error) {
    return { isBusy: isBusy(error), message: Error.isError(error) ? error.message : '' };
  }
}
