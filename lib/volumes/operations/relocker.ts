import { LockContendedError, ProofExpiredError } from '../../lock/errors.ts';
import type { Ticket } from '../../lock/ticket.ts';
import { isSameOwner } from '../../lock/ticket.ts';
import type { KeptLock } from '../../lock/use/kept-lock.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import { lockName } from '../../lock/use/use.ts';
import type { Clock } from '../../running/clock.ts';
import { never } from '../../running/never.ts';
import { InUseError, UnavailableError } from '../errors.ts';
import type { MountRow } from '../mounts/mount-table.ts';
import type { OnLockChange, Relocker } from '../mounts/relocker.ts';
import type { Catalog } from '../records/catalog.ts';
import { mountMarkKey } from '../records/catalog.ts';
import type { Claimant } from '../records/claims.ts';
import { claimKey, claimText } from '../records/claims.ts';
import { translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';

export interface RelockerOptions {
  readonly locks: LockService;
  readonly catalog: Pick<Catalog, 'mountMark'>;
  /** Reads the tickets of a lock from the store. */
  readonly manager: {
    inspect(lockName: string): Promise<readonly Ticket[]>;
    breakLock(ticket: Ticket): Promise<void>;
    /** The ID of the store's history. */
    readonly historyId?: string | undefined;
  };
  /** This host, as its tickets and claims name it. */
  readonly claimant: Claimant;
  readonly clock: Pick<Clock, 'date'>;
  /** False: the store is this host's alone, so that no other host can have asked for a volume. */
  readonly isShared: boolean;
}

/** Finds, resumes and re-acquires the locks of volumes that are mounted on this host. */
export function relocker(options: RelockerOptions): Relocker {
  const { locks: service, catalog, manager, claimant } = options;
  const { owner } = claimant;
  const isOfHistory = ({ history }: Pick<MountRow, 'history'>) =>
    history === undefined || manager.historyId === undefined || history === manager.historyId;
  const reacquire: Relocker['reacquire'] = async (row, onChange, proof) => {
    const back = proof === undefined ? undefined : await putBack(options, row, onChange, proof);
    if (back) return back;
    const lock = await acquire(options, row, onChange);
    try {
      // Read under the lock, so that the answer stays true. This request has left no mark.
      const { volume, onLost, mountMark: mark } = row;
      if (onLost === 'keep' || !options.isShared) return lock;
      if (!isOfHistory(row)) {
        throw new InUseError(
          `the store was put back while volume ${volume} was mounted here, and this host can't prove ` +
            'that no other host had the volume before',
        );
      }
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
    resume: async (row, onChange) =>
      isOfHistory(row) ? service.resume(row.ticket, onChange) : undefined,
    reacquire: (row, onChange, proof) =>
      translated(row.volume, () => reacquire(row, onChange, proof)),
  };
}

function acquire(
  { locks: service }: RelockerOptions,
  row: MountRow,
  onChange: OnLockChange,
  proof?: number,
): Promise<KeptLock> {
  return service.acquireWithTTLRefresh(locks.mount(row.volume, row.access), {
    signal: never,
    timeoutMs: 0,
    expires: row.failover === 'auto',
    onChange,
    proof,
  });
}

/** Undefined: the time in which the lock could be put back is over. */
async function putBack(
  options: RelockerOptions,
  row: MountRow,
  onChange: OnLockChange,
  proof: number,
): Promise<KeptLock | undefined> {
  const { claimant, clock } = options;
  const { volume, mountMark: mark } = row;
  let lock: KeptLock;
  try {
    lock = await acquire(options, row, onChange, proof);
  } catch (error) {
    if (error instanceof ProofExpiredError) return undefined;
    if (!(error instanceof LockContendedError)) throw error;
    // This host's own is of an earlier session: what it holds now it has just proved.
    const own = error.blockers.filter((ticket) => ticket.owner === claimant.owner);
    for (const ticket of own) await options.manager.breakLock(ticket);
    // Another owner removes its ticket if it does not hold the lock; if it is dead, its session expires.
    const text = `a ticket that was restored with the store blocks volume ${volume}: ${error.message}`;
    throw new UnavailableError(text, { cause: error });
  }
  const claim = claimKey(volume, mark);
  if (mark === undefined || claim === undefined) return lock;
  try {
    await lock.guard([
      { key: mountMarkKey(volume), value: mark },
      { key: claim, value: claimText(claimant, clock.date()) },
    ]);
    return lock;
  } catch (error) {
    await lock.unlock();
    throw error;
  }
}
