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
 * Adds words of mount(8), such as `nosuid`, to those that the topmost mount at a path has. May be repeated.
 */
export async function addMountWords(
  at: string,
  words: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  if (words.length === 0) return;
  const calls = await systemCalls();
  try {
    if (calls) return await calls.addMountWords(at, words);
  } catch (error) {
    // Before Linux 5.12 there is no such call, and a sandbox may not know it.
    if (!hasCode(error, 'ENOSYS', 'EPERM')) throw error;
  }
  await run('mount', ['-o', ['remount', 'bind', ...words].join(','), at], { signal });
}

/**
 * Mounts a file system in memory of one page at a directory, without devices and programs. With
 * `isReadOnly` it is mounted already, and nobody can write to it from then on, at any place.
 */
export async function mountPage(
  name: string,
  at: string,
  { isReadOnly }: { readonly isReadOnly: boolean },
): Promise<void> {
  const calls = await systemCalls();
  if (calls) return calls.mountPage(name, at, { isReadOnly });
  const options = `size=4k,mode=755,nosuid,nodev,noexec${isReadOnly ? ',remount,ro' : ''}`;
  await run('mount', ['-t', 'tmpfs', '-o', options, name, at]);
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

export type SystemCalls = typeof import('./mount-calls.ts');

/**
 * Returns the system calls, which take 0.1 ms; a program takes 2.4 ms, nearly all of it to fork. Undefined
 * where they can't be called: `mount` and `umount` do the same then. The first call takes longest,
 * because it loads a library.
 */
export async function systemCalls(): Promise<SystemCalls | undefined> {
  try {
    return await import('./mount-calls.ts');
  } catch (error) {
    log('WARNING mounting by programs, because mount(2) can not be called: %s', error);
    return undefined;
  }
}
