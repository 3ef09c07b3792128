import { isMountpoint } from './mountinfo.ts';
import { ProgramError, run } from './run.ts';

/**
 * Makes a mounted file system still: what is on its device is consistent, and writers wait.
 * Disposing lets them go on. A crash in between leaves it frozen until `thaw`.
 *
 * Only for the mountpoint of a file system of its own: anywhere else this would freeze the host's.
 */
export async function freeze(mountpoint: string): Promise<AsyncDisposable> {
  if (!(await isMountpoint(mountpoint))) throw new Error(`nothing is mounted at ${mountpoint}`);
  // Freezing twice is refused, so what a crash left is undone first.
  await thaw(mountpoint);
  try {
    await run('fsfreeze', ['--freeze', mountpoint]);
  } catch (error) {
    await thaw(mountpoint);
    throw error;
  }
  return { [Symbol.asyncDispose]: () => thaw(mountpoint) };
}

/** Undoes a freeze. Not frozen, or nothing mounted there: a success. */
export async function thaw(mountpoint: string): Promise<void> {
  if (!(await isMountpoint(mountpoint))) return;
  try {
    await run('fsfreeze', ['--unfreeze', mountpoint]);
  } catch (error) {
    const wasNotFrozen =
      error instanceof ProgramError && error.output.stderr.includes('Invalid argument');
    if (!wasNotFrozen) throw error;
  }
}
