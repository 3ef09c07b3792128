import { isMountpoint } from './mountinfo.ts';
import { ProgramError, run } from './run.ts';

/** A file system was frozen already: whoever did that may thaw it at any time. */
export class AlreadyFrozenError extends Error {
  override readonly name = 'AlreadyFrozenError';
}

/**
 * Freezes a mounted file system: its device is consistent, and writers wait until the result is
 * disposed. A crash in between leaves it frozen until `thaw`. Rejects AlreadyFrozenError, and changes
 * nothing, if it is frozen: the kernel does not count freezes, so the thaw would end another's freeze.
 *
 * `mountpoint` must have a file system of its own: anywhere else this would freeze the host's.
 */
export async function freeze(mountpoint: string): Promise<AsyncDisposable> {
  if (!(await isMountpoint(mountpoint))) throw new Error(`nothing is mounted at ${mountpoint}`);
  if (!(await keepFrozen(mountpoint))) {
    throw new AlreadyFrozenError(`the file system at ${mountpoint} is frozen already`);
  }
  return { [Symbol.asyncDispose]: () => thaw(mountpoint) };
}

/**
 * Freezes a mounted file system until `thaw`. Resolves to false if it is frozen already, whoever did
 * that. Does nothing if nothing is mounted there. `mountpoint` must have a file system of its own.
 */
export async function keepFrozen(mountpoint: string): Promise<boolean> {
  if (!(await isMountpoint(mountpoint))) return true;
  try {
    await run('fsfreeze', ['--freeze', mountpoint]);
    return true;
  } catch (error) {
    const wasFrozen =
      error instanceof ProgramError && error.output.stderr.includes('Device or resource busy');
    if (!wasFrozen) throw error;
    return false;
  }
}

/**
 * Undoes a freeze. Succeeds if the file system is not frozen, if nothing is mounted there, and if an xfs
 * has shut down after an error: that can't be opened any more.
 */
export async function thaw(mountpoint: string): Promise<void> {
  if (!(await isMountpoint(mountpoint))) return;
  try {
    await run('fsfreeze', ['--unfreeze', mountpoint]);
  } catch (error) {
    const wasNotFrozen =
      error instanceof ProgramError &&
      /Invalid argument|Input\/output error/.test(error.output.stderr);
    if (!wasNotFrozen) throw error;
  }
}
