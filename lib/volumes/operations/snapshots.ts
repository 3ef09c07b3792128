import type { Lock } from '../../lock/lock.ts';
import type { Clock } from '../../running/clock.ts';
import { ExistsError, NotFoundError } from '../errors.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { PoolRoom } from '../pools/pool-room.ts';
import type { CallContext } from '../service.ts';
import type { Snapshot, VolumeRecord, VolumeSource } from '../volume.ts';
import type { CopiesInUse } from './copies-in-use.ts';
import { copyKindOf } from './copies-in-use.ts';
import { withoutSnapshot, withSnapshot } from './lineage.ts';
import type { StorageWork } from './storage-work.ts';

export interface SnapshotsOptions {
  readonly clock: Clock;
  readonly mounts: Pick<Mounts, 'requireUnmounted'>;
  readonly room: Pick<PoolRoom, 'during'>;
  readonly copies: Pick<CopiesInUse, 'make'>;
}

/** The snapshots of a volume: their storage, and what its record says of them. The caller holds the locks. */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #work: StorageWork;

  constructor(options: SnapshotsOptions, work: StorageWork) {
    this.#options = options;
    this.#work = work;
  }

  async take(volume: string, name: string, lock: Lock, context: CallContext): Promise<Snapshot> {
    const { record, revision } = await this.#work.read(volume, lock);
    if (record.snapshots.some((snapshot) => snapshot.name === name)) {
      throw new ExistsError(`volume ${volume} has a snapshot ${name} already`);
    }
    const driver = await this.#work.driverInPlace(record.driver);
    const target = { ...this.#work.live(record), snapshot: name };
    const during = this.#work.during(lock, context);
    // A crash may have left a snapshot of that name, without a record, of an older moment.
    await driver.removeSnapshot(target, during);
    const { volumeBytes } = await driver.occupied(record);
    const copy = { driver, record, source: target, lock };
    let bytes = 0;
    return await this.#options.room.during(driver, volumeBytes, lock, async (ends) => {
      await this.#options.copies.make(
        copy,
        context,
        during,
        async (inUse) => {
          bytes = await driver.snapshot(target, inUse);
        },
        () => driver.removeSnapshot(target, during),
      );
      const kind = copyKindOf(driver, context);
      const snapshot = { name, createdAt: this.#options.clock.date().toISOString(), kind, bytes };
      const change = withSnapshot(record, snapshot);
      await this.#work.changeRecord(record, revision, lock, change, ends);
      return snapshot;
    });
  }

  async remove(
    { volume, snapshot }: Required<VolumeSource>,
    lock: Lock,
    context: CallContext,
  ): Promise<void> {
    const { record, revision } = await this.#work.read(volume, lock);
    findSnapshot(record, snapshot);
    const target = { ...this.#work.live(record), snapshot };
    const driver = await this.#work.driverInPlace(record.driver);
    await driver.removeSnapshot(target, this.#work.during(lock, context));
    await this.#work.changeRecord(record, revision, lock, withoutSnapshot(record, snapshot));
  }

  async restore(
    { volume, snapshot }: Required<VolumeSource>,
    lock: Lock,
    context: CallContext,
  ): Promise<void> {
    const { record, revision } = await this.#work.read(volume, lock);
    findSnapshot(record, snapshot);
    const target = { ...this.#work.live(record), snapshot };
    await this.#options.mounts.requireUnmounted(volume);
    const driver = await this.#work.driverInPlace(record.driver);
    await driver.restore(target, this.#work.during(lock, context));
    await this.#work.changeRecord(record, revision, lock, { head: snapshot });
  }
}

/** Returns a snapshot of a volume; throws NotFoundError, which names those that there are. */
export function findSnapshot(record: VolumeRecord, name: string): Snapshot {
  const found = record.snapshots.find((snapshot) => snapshot.name === name);
  if (found) return found;
  const names = record.snapshots.map((snapshot) => snapshot.name).join(', ') || 'none';
  throw new NotFoundError(
    `volume ${record.name} has no snapshot ${name}; its snapshots are: ${names}`,
  );
}
