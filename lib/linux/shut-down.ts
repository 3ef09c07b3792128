import { setTimeout as sleep } from 'node:timers/promises';
import { currentMountsAt, isMountpoint } from './mountinfo.ts';
import { ProgramError, run } from './run.ts';

/**
 * Shuts a mounted file system down, dropping all data that it has not written: every access fails
 * from now on, and its unmount writes nothing. Undoes a freeze, so that processes that wait in it
 * can die. Succeeds if it is shut down already, or nothing is mounted there. `mountpoint` must have
 * a file system of its own.
 *
 * The data of a frozen file system are on its device. An ext4 that is not frozen may still write
 * back metadata from its journal, which can't be prevented.
 */
export async function shutDown(mountpoint: string): Promise<void> {
  if (await isMountpoint(mountpoint)) await shutDownFileSystem(mountpoint);
}

/** Does the same to the file system that `path` lies in, whatever it is: the caller has checked. */
export async function shutDownFileSystem(path: string): Promise<void> {
  try {
    // One program for both: after a thaw writers would go on, and a shut-down xfs can't be opened.
    await run('xfs_io', ['-r', '-x', '-c', 'shutdown', '-c', 'thaw', path]);
  } catch (error) {
    if (!isExpected(error)) throw error;
  }
}

/** How often the kernel is asked whether the file system is shut down. */
const pollMs = 20;

/**
 * Does the same, and resolves as soon as the kernel shows the file system as shut down: from then on
 * nothing is written to it but requests that its storage has already been given. An ext4 on storage
 * that hangs completes its shutdown much later. Kernels that show nothing (before 6.10, and those of
 * other file systems) are waited for.
 */
export async function cutOffAtOnce(mountpoint: string): Promise<void> {
  let hasEnded = false;
  const completing = shutDown(mountpoint).finally(() => {
    hasEnded = true;
  });
  // Its failure is for this call while it waits, and of no interest after that.
  completing.catch(() => {});
  while (!hasEnded && !(await isShownAsShutDown(mountpoint))) {
    await Promise.race([completing, sleep(pollMs)]);
  }
  if (hasEnded) await completing;
}

async function isShownAsShutDown(mountpoint: string): Promise<boolean> {
  const mounts = await currentMountsAt(mountpoint);
  return mounts.at(-1)?.superOptions.includes('shutdown') === true;
}

const expected = [
  /^xfs_io: cannot unfreeze filesystem mounted at .*: Invalid argument$/, // The file system was not frozen.
  /^stat: Input\/output error$/, // It was shut down before: stat on an xfs then fails.
];

function isExpected(error: unknown): boolean {
  if (!(error instanceof ProgramError) || error.exitCode === undefined) return false;
  const complaints = error.output.stderr.trim().split('\n');
  return complaints.every((line) => expected.some((pattern) => pattern.test(line)));
}
