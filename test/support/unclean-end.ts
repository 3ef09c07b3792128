import type { Lock } from '../../lib/lock/lock.ts';
import type { LockManager } from '../../lib/lock/lock-manager.ts';
import { claimPrefix, claimText } from '../../lib/volumes/records/claims.ts';
import type { AdminSocket } from './admin-socket.ts';
import { eventually } from './eventually.ts';

/** Acquires the lock of volume `db` as a Mount of host `n2` does: with a claim. */
export function lockWithClaim(manager: LockManager): Promise<Lock> {
  const claimant = { owner: 'n2', host: 'n2', addresses: [], boot: 'boot' };
  return manager.lock([{ name: 'mount/db', mode: 'exclusive' }], {
    reason: 'Mount',
    claim: { prefix: claimPrefix('db'), value: claimText(claimant, new Date()) },
  });
}

/** Leaves a claim of host `n2` on volume `db` without its ticket, as when its lease expires. */
export async function leaveUncleanEnd({ n1, n2 }: AdminSocket): Promise<Lock> {
  const lock = await lockWithClaim(n2);
  await n2.breakLock(lock.ticket);
  await eventually(() => expectGone(n1.mirror.ticket(lock.ticket.nonce)));
  return lock;
}

function expectGone(ticket: unknown): void {
  if (ticket !== undefined) throw new Error('the ticket is still in the mirror');
}
