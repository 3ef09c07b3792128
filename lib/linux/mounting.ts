import createDebug from 'debug';
import { hasCode } from './error-code.ts';
import { ProgramError, run } from './run.ts';

const log = createDebug('berth:mount');

/**
 * Makes one directory appear at another one. A call on a file system that does not answer can't be
 * aborted; `signal` only ends the program that mounts where the system call can't be used.
 */
export async function bindMount(from: string, at: string, signal: AbortSignal): Promise<void> {
  const calls = await systemCalls();
  if (calls) await calls.bindMount(from, at);
  else await run('mount', ['--bind', from, at], { signal });
}

/**
 * Removes the topmost mount at a path. `isLazy`: also if a process uses it, which keeps it until it
 * lets go.
 */
export async function unmount(
  at: string,
  { isLazy = false }: { readonly isLazy?: boolean } = {},
): Promise<void> {
  const calls = await systemCalls();
  if (calls) await calls.unmount(at, { isLazy });
  else await run('umount', [...(isLazy ? ['--lazy'] : []), at]);
}

/** True for the error of an unmount that was refused because a process uses the mount. */
export function isBusy(error: unknown): boolean {
  return error instanceof ProgramError
    ? /\bbusy\b/.test(error.output.stderr)
    : hasCode(error, 'EBUSY');
}

/**
 * Returns the system calls, which take 0.1 ms; a program takes 2.4 ms, nearly all of it to fork. Undefined
 * where they can't be called: `mount` and `umount` do the same then. The first call takes longest,
 * because it loads a library.
 */
export async function systemCalls() {
  try {
    return await import('./mount-calls.ts');
  } catch (error) {
    log('WARNING mounting by programs, because mount(2) can not be called: %s', error);
    return undefined;
  }
}
