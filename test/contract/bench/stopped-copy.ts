import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { patience } from '../../support/processes.ts';

const enoughBytes = 2 ** 20;
/** The programs that copy a file and a directory, as /proc names them. */
const copiers = ['cp', 'berth-copy'];

const program = promisify(execFile);

/**
 * Gives the main thread of this process real-time priority until it is disposed: it then sees each
 * step of a copy, however busy the machine is. What the thread starts has the usual priority.
 */
export async function realTime(): Promise<AsyncDisposable> {
  const pid = String(process.pid);
  await program('chrt', ['--reset-on-fork', '--rr', '--pid', '1', pid]);
  return {
    [Symbol.asyncDispose]: async () => {
      await program('chrt', ['--other', '--pid', '0', pid]);
    },
  };
}

/**
 * Stops the program that a process runs to copy for a driver, in the middle of its work, and returns its pid.
 * `dir` is the directory in which it makes its file, whose name begins with a dot. Its looks are
 * synchronous: a step through the thread pool may take longer on a busy machine than the copy.
 * Needs `realTime`.
 */
export async function stopCopy(parentPid: number, dir: string): Promise<number> {
  const deadline = performance.now() + 20_000 * patience;
  let seen = 0;
  while (performance.now() < deadline) {
    const pid = childNamed(copiers, parentPid);
    if (pid !== undefined) {
      seen += 1;
      if (stopWhenUnderWay(pid, dir)) return pid;
    }
    // A busy machine starts the copy only if this thread leaves it a processor.
    await sleep(1);
  }
  throw new Error(`no copy was under way: a copier was seen ${seen} times`);
}

/** Lets the copy do small steps until it has made something; returns false if it ended. */
function stopWhenUnderWay(pid: number, dir: string): boolean {
  while (signalled(pid, 'SIGSTOP')) {
    if (isZombie(pid)) return false;
    if (bytesHalfMade(dir) > enoughBytes) return true;
    process.kill(pid, 'SIGCONT');
    pauseThread(1);
  }
  return false;
}

function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** A child that has ended takes signals until its parent has waited for it. */
function isZombie(pid: number): boolean {
  return /\) [ZX] /.test(textOf(`/proc/${pid}/stat`)) || textOf(`/proc/${pid}/stat`) === '';
}

function pauseThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function childNamed(names: readonly string[], parentPid: number): number | undefined {
  const children = textOf(`/proc/${parentPid}/task/${parentPid}/children`).split(' ');
  const pid = children.find((child) => names.includes(textOf(`/proc/${child}/comm`).trim()));
  return pid === undefined ? undefined : Number(pid);
}

/** Counts what is stored below the names in `dir` that begin with a dot. */
function bytesHalfMade(dir: string): number {
  return namesIn(dir)
    .filter((name) => name.startsWith('.'))
    .map((name) => bytesAt(join(dir, name)))
    .reduce((sum, bytes) => sum + bytes, 0);
}

function bytesAt(path: string): number {
  // The copy may rename or remove what was listed.
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 0;
  if (!found.isDirectory()) return found.blocks * 512;
  return namesIn(path).reduce((sum, name) => sum + bytesAt(join(path, name)), 0);
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Returns an empty text for a process that has ended. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
