import type { LockService } from '../../lock/use/lock-service.ts';
import { never } from '../../running/never.ts';
import { InUseError } from '../errors.ts';
import type { Relocker } from '../mounts/mount-recovery.ts';
import type { Catalog } from '../records/catalog.ts';
import { translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';

/** Resumes and re-acquires the locks of volumes that are mounted on this host. */
export function relocker(service: LockService, catalog: Pick<Catalog, 'mountMark'>): Relocker {
  const reacquire: Relocker['reacquire'] = async (row, onChange) => {
    const lock = await service.acquireWithTTLRefresh(locks.mount(row.volume, row.access), {
      signal: never,
      timeoutMs: 0,
      expires: row.failover === 'auto',
      onChange,
    });
    try {
      // Read under the lock, so that the answer stays true. This request has left no mark.
      const { volume, onLost, mountMark: mark } = row;
      if (onLost === 'keep') return lock;
      if (mark !== undefined && (await catalog.mountMark(volume)) === mark) return lock;
      throw new InUseError(
        `another host has asked for volume ${row.volume} since it was mounted here`,
      );
    } catch (error) {
      await lock.unlock();
      throw error;
    }
  };
  return {
    resume: (row, onChange) => service.resume(row.ticket, onChange),
    reacquire: (row, onChange) => translated(row.volume, () => reacquire(row, onChange)),
  };
}
