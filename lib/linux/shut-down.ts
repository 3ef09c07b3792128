import { isMountpoint } from './mountinfo.ts';
import { ProgramError, run } from './run.ts';

/**
 * Ends a mounted file system at once, dropping all that it has not written: from here on every
 * access to it fails, and its unmount writes nothing. A freeze is undone, so that who waits in it
 * can die. Shut down already, or nothing mounted there: a success. Only for a file system of its own.
 *
 * What a frozen file system had is on its device. Of one that is not frozen, an ext4 may still write
 * back the metadata that it had put into its journal; nothing can stop it from that.
 */
export async function shutDown(mountpoint: string): Promise<void> {
  if (!(await isMountpoint(mountpoint))) return;
  try {
    // Thawed first, its writers would go on; opened afresh to be thawed, an xfs refuses.
    await run('xfs_io', ['-r', '-x', '-c', 'shutdown', '-c', 'thaw', mountpoint]);
  } catch (error) {
    if (!isExpected(error)) throw error;
  }
}

const expected = [
  /^xfs_io: cannot unfreeze filesystem mounted at .*: Invalid argument$/, // It was not frozen.
  /^stat: Input\/output error$/, // It was shut down before: an xfs then can't be looked at.
];

function isExpected(error: unknown): boolean {
  if (!(error instanceof ProgramError) || error.exitCode === undefined) return false;
  const complaints = error.output.stderr.trim().split('\n');
  return complaints.every((line) => expected.some((pattern) => pattern.test(line)));
}
