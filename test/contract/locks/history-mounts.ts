import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { KeptLock } from '../../../lib/lock/use/kept-lock.ts';
import { LockDriver } from '../../../lib/lock/use/lock-driver.ts';
import type { MountRow } from '../../../lib/volumes/mounts/mount-table.ts';
import { relocker } from '../../../lib/volumes/operations/relocker.ts';
import { Catalog } from '../../../lib/volumes/records/catalog.ts';
import { mountRow } from '../../support/mount-row.ts';

/** Returns the row of volume `db`, whose mount has this lock. */
export function rowOf({ ticket, historyId }: KeptLock): MountRow & { readonly mountMark: string } {
  const mountMark = ticket.nonce;
  return { ...mountRow('db', { ticket, history: historyId }), mountMark };
}

/** Takes the lock of a mount again, as a daemon does. */
export function reacquire(
  by: LockManager,
  row: MountRow,
  proof: number | undefined,
): Promise<KeptLock> {
  const service = relocker({
    locks: new LockDriver(by, 10_000),
    catalog: new Catalog(by.mirror, by),
    manager: by,
    claimant: { owner: 'n1', host: 'n1', addresses: [], boot: 'boot' },
    clock: { date: () => new Date() },
    isShared: true,
  });
  return service.reacquire(row, () => {}, proof);
}
