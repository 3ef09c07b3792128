import type { VolumeDriver } from '../drivers/driver.ts';
import { InUseError, UnavailableError } from '../errors.ts';
import type { Catalog } from '../records/catalog.ts';
import { claimKey } from '../records/claims.ts';
import type { VolumeRecord } from '../volume.ts';
import type { FoundMount, MountsAt } from './found-mount.ts';
import { foundText, kernelMountsAt } from './found-mount.ts';
import { withLostUses } from './mount-row.ts';
import type { MountLock, MountStates } from './mount-state.ts';
import type { MountRow, MountTable } from './mount-table.ts';
import type { OnLockChange, Relocker } from './relocker.ts';

export interface FoundMountsOptions {
  readonly table: Pick<MountTable, 'put'>;
  readonly states: MountStates;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly locks: Pick<Relocker, 'find' | 'resume'>;
  readonly catalog: Pick<Catalog, 'read'>;
  readonly bootId: string;
  readonly mountsAt?: MountsAt | undefined;
}

/** Why a mount can't be taken over. Nothing changes that before the next start of the daemon. */
class Verdict extends Error {}

/**
 * Takes over mounts that have no row, because the mount table was lost or damaged: finds this host's
 * ticket for the volume, and writes a row whose uses are unconfirmed, so that the reconciler drops
 * them when nobody uses the volume. Without the ticket the volume may be another host's: then nothing
 * is touched. Callers hold the volume's mutex.
 */
export class FoundMounts {
  readonly #options: FoundMountsOptions;
  readonly #mountsAt: MountsAt;

  constructor(options: FoundMountsOptions) {
    this.#options = options;
    this.#mountsAt = options.mountsAt ?? kernelMountsAt;
  }

  /** Forgets a found mount that has been unmounted since. Returns true if it has. */
  async forgetIfGone(volume: string): Promise<boolean> {
    const { states } = this.#options;
    const state = states.get(volume);
    if (state?.is !== 'found' || !state.found.isMounted) return false;
    if ((await this.#mountsAt(state.found.mountpoint)).length > 0) return false;
    const lock = states.leave(volume);
    await lock?.unlock({ claim: claimKey(volume, lock.ticket.nonce) });
    return true;
  }

  /**
   * Takes a found mount over and returns its row. Undefined: nothing is mounted any more, or the
   * mount can't be taken over, and its state says why. Rejects while the store is away.
   */
  async takeOver(volume: string, onChange: OnLockChange): Promise<MountRow | undefined> {
    const { states, table } = this.#options;
    const state = states.get(volume);
    if (state?.is !== 'found' || (await this.forgetIfGone(volume)) || state.why !== undefined) {
      return undefined;
    }
    const { found } = state;
    const lock = state.lock ?? (await this.#lockOf(volume, onChange));
    if (lock) states.enter(volume, { is: 'found', found, lock });
    else if (!found.isMounted) {
      states.leave(volume); // Neither a mount nor a ticket: it had ended.
      return undefined;
    }
    try {
      if (!lock) {
        throw new Verdict('this host holds no lock on the volume, so another host may use it');
      }
      const row = await this.#rowOf(found, lock);
      await table.put(row);
      states.enter(volume, { is: 'mounted', lock });
      return row;
    } catch (error) {
      if (!(error instanceof Verdict)) throw error;
      const why = error.message;
      states.enter(volume, { is: 'found', found, why, ...(lock ? { lock } : {}) });
      return undefined;
    }
  }

  /**
   * Throws if the volume has a found mount: InUseError if the mount can't be taken over,
   * UnavailableError if that is not known yet.
   */
  async refuse(volume: string): Promise<void> {
    const state = this.#options.states.get(volume);
    if (state?.is !== 'found' || (await this.forgetIfGone(volume))) return;
    const text = foundText(state.found, state.why);
    throw state.why === undefined ? new UnavailableError(text) : new InUseError(text);
  }

  /** Returns the lock that this process has for a found mount. */
  lock(volume: string): MountLock | undefined {
    const { states } = this.#options;
    return states.get(volume)?.is === 'found' ? states.lock(volume) : undefined;
  }

  /** Returns the text for people about a mount that can't be taken over. */
  verdict(volume: string): string | undefined {
    const state = this.#options.states.get(volume);
    return state?.is === 'found' && state.why !== undefined
      ? foundText(state.found, state.why)
      : undefined;
  }

  async #lockOf(volume: string, onChange: OnLockChange): Promise<MountLock | undefined> {
    const { locks } = this.#options;
    const ticket = await locks.find(volume);
    return ticket && (await locks.resume({ ticket }, onChange));
  }

  async #rowOf(found: FoundMount, { ticket, historyId }: MountLock): Promise<MountRow> {
    const { bootId } = this.#options;
    const { volume, mountpoint } = found;
    const { driver, options, access, failover, onLost } = await this.#record(found);
    return withLostUses({
      ...{ volume, driver, options, access, failover, onLost, mountpoint, ticket, bootId },
      // If the lock had been re-acquired, the mark is older than this ticket, and a loss of the lock
      // counts as if another host had asked: the safe way.
      ...(access === 'shared' ? {} : { mountMark: ticket.nonce }),
      ...(historyId === undefined ? {} : { history: historyId }),
      mountIds: new Map(),
    });
  }

  async #record({ volume, mountpoint, isMounted }: FoundMount): Promise<VolumeRecord> {
    const record = await this.#readRecord(volume);
    if (!record) throw new Verdict('there is no volume of this name');
    const driver = this.#options.drivers.get(record.driver);
    if (!driver) throw new Verdict(`the driver ${record.driver} is not here`);
    const top = (await this.#mountsAt(mountpoint)).at(-1);
    if (isMounted && top && !driver.owns(top)) {
      throw new Verdict(`the mount is none that the driver ${record.driver} makes`);
    }
    return record;
  }

  async #readRecord(volume: string): Promise<VolumeRecord | undefined> {
    try {
      return (await this.#options.catalog.read(volume))?.record;
    } catch (error) {
      if (error instanceof UnavailableError) throw new Verdict(error.message, { cause: error });
      throw error;
    }
  }
}
