import { LockContendedError, LockDisabledError } from '../../lock/errors.ts';
import type { Lock } from '../../lock/lock.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { UseLocker } from '../../lock/use/use.ts';
import { UseMount, UseSnapshot } from '../../lock/use/use.ts';
import { translated } from '../operations/lock-refusals.ts';

/**
 * The locks that the doctor holds while it examines a volume: both locks of the volume; the lock of
 * its snapshots alone, while the volume is mounted somewhere; or none, because the volume is
 * disabled, and then nobody begins any work on it.
 */
export type Hold =
  | { readonly scope: 'volume' | 'snapshots'; readonly lock: Lock }
  | { readonly scope: 'nothing' };

/**
 * Examines a volume while nobody works on it, so that work in progress does not look like interrupted
 * work. Undefined: somebody works on it. Rejects UnavailableError when the store is away.
 */
export async function whileIdle<T>(
  locks: LockService,
  volume: string,
  signal: AbortSignal,
  look: (hold: Hold) => Promise<T>,
): Promise<T | undefined> {
  const snapshot = UseSnapshot(volume, 'maintenance');
  const attempts: [Exclude<Hold['scope'], 'nothing'>, readonly UseLocker[]][] = [
    ['volume', [UseMount(volume, 'maintenance'), snapshot]],
    ['snapshots', [snapshot]],
  ];
  for (const [scope, uses] of attempts) {
    let isHeld = false;
    try {
      return await translatedOnly(volume, () =>
        locks.executeWithMultiUseLock(uses, { signal, timeoutMs: 0, detail: 'doctor' }, (lock) => {
          isHeld = true;
          return look({ scope, lock });
        }),
      );
    } catch (error) {
      if (isHeld) throw error;
      if (error instanceof LockDisabledError) return look({ scope: 'nothing' });
      if (!(error instanceof LockContendedError)) throw error;
      if (!error.blockers.every(({ kind }) => kind === 'mount')) return undefined;
    }
  }
  return undefined;
}

/** Translates failures into the words of volumes, except the two that say something of the volume. */
async function translatedOnly<T>(volume: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof LockDisabledError || error instanceof LockContendedError) throw error;
    return await translated(volume, () => Promise.reject(error));
  }
}
