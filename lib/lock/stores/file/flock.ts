import { spawn } from 'node:child_process';
import { fstatSync, readFileSync } from 'node:fs';
import { StoreUnavailableError } from '../../errors.ts';

/** How long a step waits for a lock that others hold. */
const waitLimitMs = 5000;

/**
 * Takes the kernel's lock on an open file, `exclusive` or `shared`. Returns false if others hold
 * it: at once, or with `wait` after five seconds. Node can't lock files, so util-linux's `flock`
 * locks a descriptor that it inherits. The lock belongs to the open file and outlives the helper:
 * the kernel frees the lock when the file is closed, also at the process's death.
 *
 * After false or an error, close the file: the kernel may have granted the lock to a dying helper.
 */
export function flock(
  descriptor: number,
  mode: 'exclusive' | 'shared',
  { wait }: { readonly wait: boolean },
): Promise<boolean> {
  const args = [mode === 'exclusive' ? '-x' : '-s', ...(wait ? [] : ['-n']), '3'];
  return new Promise((resolve, reject) => {
    const helper = spawn('flock', args, {
      stdio: ['ignore', 'ignore', 'pipe', descriptor],
      // A terminal's Ctrl-C must reach berth, which then cleans up, and not its helper.
      detached: true,
      timeout: waitLimitMs,
      killSignal: 'SIGKILL',
    });
    let complaint = '';
    helper.stdio[2]?.on('data', (text) => {
      complaint += text;
    });
    helper.once('error', (cause) =>
      reject(
        new StoreUnavailableError(
          'the program flock of util-linux does not run; is it installed?',
          { cause },
        ),
      ),
    );
    helper.once('close', (code, signal) => {
      if (code === 0) return resolve(true);
      if (complaint === '' && (code === 1 || signal === 'SIGKILL')) return resolve(false);
      reject(new StoreUnavailableError(`flock failed (${code ?? signal}): ${complaint.trim()}`));
    });
  });
}

/** True if an open file of this process holds a lock. */
export function holdsLock(descriptor: number): boolean {
  return readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8').includes('FLOCK');
}

/**
 * True if the kernel's table lists an exclusive lock on an open file, which saves a helper process.
 * False proves nothing: in a PID namespace the table omits locks whose helper has ended, and some
 * file systems have other numbers there.
 */
export function isListedAsLocked(descriptor: number): boolean {
  const { dev, ino } = fstatSync(descriptor, { bigint: true });
  // The same as glibc's major() and minor().
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  const file = ` ${twoDigits(major)}:${twoDigits(minor)}:${ino} `;
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .some((line) => /^\d+: FLOCK +ADVISORY +WRITE /.test(line) && line.includes(file));
}

function twoDigits(number: bigint): string {
  return number.toString(16).padStart(2, '0');
}
