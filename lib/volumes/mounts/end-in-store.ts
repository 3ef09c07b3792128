import createDebug from 'debug';
import type { Claims } from '../records/claims.ts';
import { claimKey } from '../records/claims.ts';
import type { MountLock } from './mount-state.ts';
import type { MountRow } from './stored-row.ts';

const log = createDebug('berth:mount');

/**
 * Tells the store that a mount has ended and nothing of it can write any more: releases its lock and
 * deletes its claim in one step; the claim alone if the lock is gone. What the store does not hear now
 * is repeated later.
 */
export async function endInStore(
  { volume, mountMark }: Pick<MountRow, 'volume' | 'mountMark'>,
  lock: MountLock | undefined,
  claims: Pick<Claims, 'release'>,
): Promise<void> {
  if (lock) return await lock.unlock({ claim: claimKey(volume, mountMark) });
  if (mountMark === undefined) return;
  await claims.release(volume, mountMark).catch((error) => {
    log('volume=%s: its claim stays until the store answers: %s', volume, error);
  });
}
