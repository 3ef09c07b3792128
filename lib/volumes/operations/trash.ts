import createDebug from 'debug';
import { hasCode } from '../../linux/error-code.ts';
import type { Lock } from '../../lock/lock.ts';
import type { RecordNote, RecordWrite } from '../../lock/stores/ticket-store.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { Clock } from '../../running/clock.ts';
import type { DriverContext, DriverVolume, VolumeDriver } from '../drivers/driver.ts';
import { keptMs } from '../drivers/keep.ts';
import { ExistsError, InvalidRequestError, NotFoundError, UnavailableError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { PoolRoom } from '../pools/pool-room.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog, CatalogEntry } from '../records/catalog.ts';
import { recordDeletion, recordKey, recordWrite } from '../records/catalog.ts';
import { claimPrefix } from '../records/claims.ts';
import type { KeptClaim, RemovedVolume, RemovedVolumes } from '../records/removed-volumes.ts';
import { removedDeletion, removedWrite, trashIdOf } from '../records/removed-volumes.ts';
import type { CallContext } from '../service.ts';
import type { TrashEntry } from '../trash-entry.ts';
import { formatEntry } from '../trash-entry.ts';
import { checkNewVolumeName } from '../volume.ts';
import { translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';
import { chosen } from './trash-choice.ts';

export type { RemovedVolume } from '../records/removed-volumes.ts';

const log = createDebug('berth:volume');

export interface TrashOptions {
  readonly removed: RemovedVolumes;
  readonly catalog: Pick<Catalog, 'get' | 'entry'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly pools: Pick<Pools, 'require'>;
  readonly mounts: Pick<Mounts, 'requireUnmounted'>;
  readonly room: Pick<PoolRoom, 'during'>;
  readonly locks: LockService;
  readonly events: EventSink;
  readonly clock: Pick<Clock, 'date'>;
  /** The name of this host. */
  readonly host: string;
  /** How long removed volumes are kept; 0: not at all. */
  readonly termMs: number;
  /** Returns the note that a use of a volume ends now. */
  readonly noteUse: (volume: string) => RecordNote;
  /** Returns the claims on a volume, whose hosts may still write to its storage. */
  readonly claims: (volume: string) => readonly KeptClaim[];
}

/** A request to restore a removed volume. */
export interface RestoreRequest {
  readonly volume: string;
  /** The ID of the entry, or the time of the Remove; undefined: the last one of that name. */
  readonly which?: string | undefined;
  /** The name that the volume gets; undefined: the one that it had. */
  readonly as?: string | undefined;
}

/**
 * The removed volumes that are kept for a term, each under its locks (lock-table.ts). As in all operations,
 * the storage comes first, then one guarded step of the store:
 *
 * | step | a crash before its commit leaves | which is completed by |
 * |---|---|---|
 * | put | a record whose storage is in the trash | a repeated Remove; the doctor puts the storage back |
 * | restore | an entry whose storage has the volume's name | a repeated restore; the doctor puts it into the trash again |
 * | discard | an entry without storage | the next look of the keeper at an entry whose term has ended; the doctor |
 */
export class Trash {
  readonly #options: TrashOptions;
  /** The size of each entry by its name and revision: nobody writes to it. */
  readonly #sizes = new Map<string, number>();

  constructor(options: TrashOptions) {
    this.#options = options;
  }

  /** Milliseconds for which this host keeps the volumes that it removes; 0: not at all. */
  get termMs(): number {
    return this.#options.termMs;
  }

  /** True: a Remove keeps the volume, as its option `keep` or this host's setting says. */
  keeps(driver: VolumeDriver, volume: DriverVolume): boolean {
    return driver.trash !== undefined && this.#termOf(volume) > 0;
  }

  /** Lists the removed volumes, the first removed first. */
  list(): readonly RemovedVolume[] {
    return this.#options.removed.list();
  }

  /**
   * Moves the storage of a volume to the trash instead of deleting it, and releases the locks of its Remove.
   * A volume without storage leaves nothing there. A pool without room for one more name loses the storage
   * at once, unless it has snapshots.
   */
  async put(
    { record, revision }: CatalogEntry,
    driver: VolumeDriver,
    lock: Lock,
    during: DriverContext,
    writes: readonly RecordWrite[],
  ): Promise<void> {
    const { clock, host, claims } = this.#options;
    const id = trashIdOf(record);
    const gone = [...recordDeletion(record.name, revision), ...writes];
    const identity = await this.#moved({ record, revision }, driver, id, during);
    if (identity === undefined) return await lock.guard(gone, { unlock: true });
    const now = clock.date();
    const keptUntil = new Date(now.getTime() + this.#termOf(record)).toISOString();
    const kept = removedWrite(id, {
      ...{ record, identity, keptUntil, removedAt: now.toISOString(), removedBy: host },
      ...{ claims: [...claims(record.name)], token: lock.token },
    });
    await lock.guard([...gone, kept], { unlock: true });
    const entry = formatEntry({ volume: record.name, id });
    this.#tell(
      record.name,
      'trashed',
      `volume ${record.name} was moved to the trash until ${keptUntil}; to undo that: ` +
        `berth volume restore ${entry}`,
    );
  }

  /** Restores a removed volume, with its snapshots. Returns it as it was in the trash. */
  async restore(
    { volume, which, as = volume }: RestoreRequest,
    { signal, onWait }: CallContext,
  ): Promise<RemovedVolume> {
    checkNewVolumeName(as);
    const entry = chosen(this.list(), volume, which);
    this.#requireFree(as, entry);
    const options = {
      ...{ signal, read: recordKey(as), detail: `restores ${formatEntry(entry)}` },
      ...(onWait && { onWait }),
    };
    return await translated(as, () =>
      this.#options.locks.executeWithMultiUseLock(
        locks.restoreRemoved(entry, as),
        options,
        (lock) => this.#restored(entry, as, lock, signal),
      ),
    );
  }

  /** Deletes a removed volume for good. False: it has left the trash meanwhile. */
  async discard(entry: TrashEntry, why: string, signal: AbortSignal): Promise<boolean> {
    const options = { signal, timeoutMs: 0, detail: 'empties the trash' };
    return await translated(formatEntry(entry), () =>
      this.#options.locks.executeWithMultiUseLock(locks.discardRemoved(entry), options, (lock) =>
        this.#discarded(entry, why, lock, signal),
      ),
    );
  }

  /** Drops the record of a removed volume whose storage is gone. False: the storage is there, or no record. */
  async forget(entry: TrashEntry, signal: AbortSignal): Promise<boolean> {
    const options = { signal, timeoutMs: 0, detail: 'doctor' };
    return await translated(formatEntry(entry), () =>
      this.#options.locks.executeWithMultiUseLock(
        locks.discardRemoved(entry),
        options,
        async (lock) => {
          const removed = await this.#options.removed.read(entry);
          if (!removed) return false;
          const { trash } = await this.#trashOf(removed);
          const isThere = (await trash.entries()).some(
            (each) => formatEntry(each) === formatEntry(entry),
          );
          if (isThere) return false;
          await lock.guard([removedDeletion(removed)], { unlock: true });
          return true;
        },
      ),
    );
  }

  /** Measures the bytes that a removed volume occupies. */
  async bytes(removed: RemovedVolume): Promise<number> {
    const key = `${formatEntry(removed)} ${removed.revision}`;
    const known = this.#sizes.get(key);
    if (known !== undefined) return known;
    const bytes = (await this.#options.drivers.get(removed.driver)?.trash?.bytes(removed)) ?? 0;
    this.#sizes.set(key, bytes);
    return bytes;
  }

  /** Returns for how many milliseconds a removed volume is kept; 0: not at all. */
  #termOf(volume: DriverVolume): number {
    return keptMs(volume) ?? this.#options.termMs;
  }

  /** Returns the identity of the storage, which is in the trash now; undefined: there is none any more. */
  async #moved(
    { record }: CatalogEntry,
    driver: VolumeDriver,
    id: string,
    during: DriverContext,
  ): Promise<string | undefined> {
    try {
      return await driver.trash?.put(record, id, during);
    } catch (error) {
      if (!hasCode(error, 'ENOSPC', 'EDQUOT')) throw error;
      if (record.snapshots.length > 0) {
        throw new UnavailableError(
          `the pool of driver ${driver.name} at ${driver.pool.place} has no room to keep volume ` +
            `${record.name} in the trash; nothing was changed. Make room, or remove its snapshots first: ` +
            'a volume without snapshots is deleted at once then',
          { cause: error },
        );
      }
      await driver.remove(record, during);
      this.#tell(
        record.name,
        'trash-emptied',
        `volume ${record.name} was deleted at once: the pool of driver ${driver.name} has no room to ` +
          'keep it in the trash',
      );
      return undefined;
    }
  }

  async #restored(
    entry: TrashEntry,
    as: string,
    lock: Lock,
    given: AbortSignal,
  ): Promise<RemovedVolume> {
    const { removed: records, room, catalog, mounts } = this.#options;
    const removed = await records.read(entry);
    if (!removed) {
      throw new NotFoundError(
        `${formatEntry(entry)} has left the trash meanwhile; nothing was changed`,
      );
    }
    if (catalog.entry(lock.read?.record)) throw nameIsTaken(as, entry);
    const { driver, trash } = await this.#trashOf(removed);
    await mounts.requireUnmounted(as);
    const record = { ...removed.record, name: as, token: lock.token };
    const context = { signal: AbortSignal.any([given, lock.signal]), lock };
    const more = Math.max(0, driver.promisedBytes(record) - (await this.bytes(removed)));
    const claims = removed.claims.map(({ mark, value }) => ({
      ...{ key: claimPrefix(as) + mark, value, expectedRevision: 0 },
    }));
    await room.during(driver, more, lock, async (ends) => {
      await trash.takeOut(removed, record, context);
      const noted = this.#options.noteUse(as);
      const gone = removedDeletion(removed);
      await lock.guard([recordWrite(record, 0), noted, ...claims, gone, ...ends], { unlock: true });
    });
    this.#tell(as, 'put-back', `volume ${as} is back: it was ${formatEntry(entry)} in the trash`);
    return removed;
  }

  async #discarded(
    entry: TrashEntry,
    why: string,
    lock: Lock,
    given: AbortSignal,
  ): Promise<boolean> {
    const removed = await this.#options.removed.read(entry);
    if (!removed) return false;
    const { trash } = await this.#trashOf(removed);
    await trash.discard(removed, { signal: AbortSignal.any([given, lock.signal]), lock });
    await lock.guard([removedDeletion(removed)], { unlock: true });
    const name = formatEntry(entry);
    this.#tell(removed.volume, 'trash-emptied', `${name} was deleted from the trash: ${why}`);
    return true;
  }

  async #trashOf({ driver: name }: RemovedVolume) {
    const driver = this.#options.drivers.get(name);
    if (!driver?.trash) throw new InvalidRequestError(`there is no driver ${name} with a trash`);
    await this.#options.pools.require(driver);
    return { driver, trash: driver.trash };
  }

  #requireFree(name: string, entry: TrashEntry): void {
    if (this.#options.catalog.get(name)) throw nameIsTaken(name, entry);
  }

  #tell(volume: string, kind: 'trashed' | 'put-back' | 'trash-emptied', message: string): void {
    this.#options.events.record({ severity: 'info', kind, volume, message });
    log('%s', message);
  }
}

function nameIsTaken(name: string, entry: TrashEntry): ExistsError {
  return new ExistsError(
    `there is a volume ${name}; restore the removed one under another name: ` +
      `berth volume restore ${formatEntry(entry)} --as NAME`,
  );
}
