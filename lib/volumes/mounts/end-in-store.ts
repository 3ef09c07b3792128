import createDebug from 'debug';
import type { RecordNote } from '../../lock/stores/ticket-store.ts';
import type { Claims } from '../records/claims.ts';
import { claimKey } from '../records/claims.ts';
import type { MountLock } from './mount-state.ts';
import type { MountRow } from './stored-row.ts';

const log = createDebug('berth:mount');

export interface EndInStore {
  readonly claims: Pick<Claims, 'releaseOwn'>;
  /** Returns the note that a use of a volume ends now. */
  readonly noteUse: (volume: string) => RecordNote;
}

/**
 * Tells the store that a mount has ended and nothing of it can write any more: releases its lock and
 * deletes its claim in one step, which also notes that its use ends now; the claim alone if the lock is gone and
 * the claim is this host's. What the store does not hear now is repeated later.
 */
export async function endInStore(
  { volume, mountMark }: Pick<MountRow, 'volume' | 'mountMark'>,
  lock: MountLock | undefined,
  { claims, noteUse }: EndInStore,
): Promise<void> {
  const note = noteUse(volume);
  if (lock) return await lock.unlock({ claim: claimKey(volume, mountMark), note });
  if (mountMark === undefined) return;
  await claims.releaseOwn(volume, mountMark).catch((error) => {
    log('volume=%s: its claim stays until the store answers: %s', volume, error);
  });
}
