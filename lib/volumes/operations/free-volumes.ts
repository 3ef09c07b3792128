import { conflicting } from '../../lock/conflicts.ts';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { isSameOwner } from '../../lock/ticket.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import { lockName, lockRequest } from '../../lock/use/use.ts';
import { UnavailableError } from '../errors.ts';
import type { MountStates } from '../mounts/mount-state.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Catalog } from '../records/catalog.ts';
import type { Access } from '../volume.ts';
import { locks } from './lock-table.ts';

export interface FreeVolumesOptions {
  readonly mirror: Pick<StoreMirror, 'isLive' | 'ticketsOn'>;
  readonly locks: Pick<LockService, 'gates'>;
  readonly catalog: Pick<Catalog, 'get'>;
  readonly mounts: Pick<Mounts, 'get' | 'lockState'>;
  readonly states: Pick<MountStates, 'get'>;
  /** This host's identity, as tickets have it. */
  readonly owner: string;
}

/**
 * Returns true if a Mount on this host would be granted now, by the mirror of the store: no other
 * host holds the volume or waits for it, nobody has disabled it, and a mount on this host is proved
 * and in the mount table. False while the mirror may be out of date. A volume whose record is gone or
 * can't be read counts as free, so that the Mount's refusal tells what is wrong.
 */
export function isFreeHere(volume: string, options: FreeVolumesOptions): boolean {
  const { mirror, mounts, catalog, owner } = options;
  if (!mirror.isLive || options.locks.gates(volume).length > 0) return false;
  if (options.states.get(volume)?.is === 'found') return false;
  const access = accessOf(volume, catalog);
  const row = mounts.get(volume);
  if (row && (row.access === 'container' || mounts.lockState(volume) !== 'held')) return false;
  const wanted = [lockRequest(locks.mount(volume, access))];
  return mirror
    .ticketsOn(lockName('mount', volume))
    .every((ticket) => isSameOwner(ticket.owner, owner) || !conflicting(ticket.locks, wanted));
}

function accessOf(volume: string, catalog: Pick<Catalog, 'get'>): Access {
  try {
    return catalog.get(volume)?.access ?? 'host';
  } catch (error) {
    if (error instanceof UnavailableError) return 'host';
    throw error;
  }
}
