import { readlinkSync } from 'node:fs';
import { hasCode } from './error-code.ts';
import { ifSeenSync } from './proc.ts';

/**
 * Says that a link of /proc/PID leads to a path that is longer than a page. The kernel does not name
 * it (ENAMETOOLONG), and any process can make such directories and hold one.
 */
export const tooLong = Symbol('a path that is too long to be read');

/**
 * Returns the path that the kernel gives for a link's end (proc_pid_fd(5)): below the root of this
 * process, or of the end's own mount namespace. Returns undefined for what has no place in a file
 * system, such as a pipe, and when the task has ended.
 */
export function pathOfLink(link: string): string | typeof tooLong | undefined {
  try {
    const text = ifSeenSync(() => readlinkSync(link));
    return text?.startsWith('/') ? text : undefined;
  } catch (error) {
    if (hasCode(error, 'ENAMETOOLONG')) return tooLong;
    throw error;
  }
}
