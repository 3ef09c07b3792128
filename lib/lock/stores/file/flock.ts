import { spawn } from 'node:child_process';
import { fstatSync, readFileSync } from 'node:fs';
import { StoreUnavailableError } from '../../errors.ts';

/** How long others may keep a lock before a step gives up. */
const waitLimitMs = 5000;

/**
 * Takes the kernel's lock on an open file, `exclusive` or `shared`; false when others have it: at
 * once unless `wait`, else after five seconds. Node can't do it itself, so util-linux's `flock`
 * does, on a descriptor that it inherits. The lock belongs to the open file and outlives the
 * helper: it ends when the file is closed, however that comes.
 *
 * After false or an error, close the file: the lock may have been granted to a helper on its end.
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
      // A terminal's Ctrl-C is for berth, which then puts things in order, and not for its helpers.
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
          'the program flock (of util-linux) can not be run; is it installed?',
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

/** Whether an open file of this process holds the lock that `flock` has given to it. */
export function holdsLock(descriptor: number): boolean {
  return readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8').includes('FLOCK');
}

/**
 * True when the kernel's table says that somebody has an open file locked exclusively, which saves
 * a helper. False proves nothing: inside a PID namespace the table leaves out locks whose helper
 * has ended, and some file systems have other numbers there.
 */
export function isListedAsLocked(descriptor: number): boolean {
  const { dev, ino } = fstatSync(descriptor, { bigint: true });
  // As glibc's major() and minor() do.
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
