import { open, readFile, readlink, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runOk } from './processes.ts';

/** A kernel that runs as a process, and can stand still as a whole. */
export interface Freezer {
  /** The environment with which the kernel has to be started. */
  readonly env: Readonly<Record<string, string>>;
  /** Stops the kernel that runs below the process `pid`, and so everything in the guest. */
  freeze(pid: number): Promise<void>;
  /** Continues it. `clockCounts`: its clocks have counted the pause. Without effect if none is frozen. */
  thaw(options: { readonly clockCounts: boolean }): Promise<void>;
}

/** Prepares a freezer for the kernel `program` with files in `directory`. */
export async function makeFreezer(program: string, directory: string): Promise<Freezer> {
  const [library, stoppedFile] = [join(directory, 'clock.so'), join(directory, 'stopped-ns')];
  const source = join(import.meta.dirname, 'stoppable-clock.c');
  await runOk('gcc', ['-shared', '-fPIC', '-O2', '-o', library, source]);
  await writeFile(stoppedFile, Buffer.alloc(8));
  let stoppedNs = 0n;
  let frozen: { readonly pid: number; readonly since: bigint } | undefined;

  return {
    env: { LD_PRELOAD: library, STOPPED_NS: stoppedFile },

    async freeze(below) {
      const pid = await kernelBelow(below, await realpath(program));
      process.kill(pid, 'SIGSTOP');
      frozen = { pid, since: process.hrtime.bigint() };
    },

    async thaw({ clockCounts }) {
      if (frozen === undefined) return;
      const { pid, since } = frozen;
      frozen = undefined;
      if (!clockCounts) {
        stoppedNs += process.hrtime.bigint() - since;
        const bytes = Buffer.alloc(8);
        bytes.writeBigInt64LE(stoppedNs);
        await using file = await open(stoppedFile, 'r+'); // The kernel has this very file mapped.
        await file.write(bytes, 0, 8, 0);
      }
      process.kill(pid, 'SIGCONT');
    },
  };
}

/** Finds the kernel itself: its own children only run while it lets them. */
async function kernelBelow(pid: number, program: string): Promise<number> {
  const generation = [pid];
  for (const each of generation) {
    if ((await readlink(`/proc/${each}/exe`).catch(() => '')) === program) return each;
    const children = await readFile(`/proc/${each}/task/${each}/children`, 'utf8').catch(() => '');
    generation.push(...children.split(' ').filter(Boolean).map(Number));
  }
  throw new Error(`no ${program} runs below process ${pid}`);
}
