import type { Ticket } from '../../lock/ticket.ts';
import { isSameOwner } from '../../lock/ticket.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import { lockName } from '../../lock/use/use.ts';
import { never } from '../../running/never.ts';
import { InUseError } from '../errors.ts';
import type { Relocker } from '../mounts/relocker.ts';
import type { Catalog } from '../records/catalog.ts';
import { translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';

export interface RelockerOptions {
  readonly locks: LockService;
  readonly catalog: Pick<Catalog, 'mountMark'>;
  /** Reads the tickets of a lock from the store. */
  readonly manager: { inspect(lockName: string): Promise<readonly Ticket[]> };
  /** This host's identity, as tickets have it. */
  readonly owner: string;
}

/** Finds, resumes and re-acquires the locks of volumes that are mounted on this host. */
export function relocker({ locks: service, catalog, manager, owner }: RelockerOptions): Relocker {
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
    find: async (volume) => {
      const tickets = await manager.inspect(lockName('mount', volume));
      // The first has the lock; a later one is a stray.
      const [first] = tickets
        .filter(({ kind, owner: other }) => kind === 'mount' && isSameOwner(other, owner))
        .sort((a, b) => a.token - b.token);
      return first;
    },
    resume: (row, onChange) => service.resume(row.ticket, onChange),
    reacquire: (row, onChange) => translated(row.volume, () => reacquire(row, onChange)),
  };
}
