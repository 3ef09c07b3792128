import type { RecordNote } from '../lib/lock/stores/ticket-store.ts';
import type { VolumeDriver } from '../lib/volumes/drivers/driver.ts';
import type { EventSink } from '../lib/volumes/events.ts';
import type { Mounts } from '../lib/volumes/mounts/mounts.ts';
import type { ClaimWatch } from '../lib/volumes/operations/claim-watch.ts';
import { Trash } from '../lib/volumes/operations/trash.ts';
import { TrashKeeper } from '../lib/volumes/operations/trash-keeper.ts';
import { PoolRoom } from '../lib/volumes/pools/pool-room.ts';
import { Promises } from '../lib/volumes/pools/promises.ts';
import { parseClaimKey } from '../lib/volumes/records/claims.ts';
import { RemovedVolumes } from '../lib/volumes/records/removed-volumes.ts';
import type { OpenCluster, Start } from './cluster.ts';

interface TrashParts {
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly mounts: Mounts;
  readonly events: EventSink;
  readonly noteUse: (volume: string) => RecordNote;
  readonly claimWatch: Pick<ClaimWatch, 'keysOf'>;
}

/** Returns the trash of the removed volumes, and the room in the pools, which it makes way for. */
export function openTrash(
  { config, clock, signal }: Start,
  { store, locks, catalog, mirror, pools }: OpenCluster,
  { drivers, mounts, events, noteUse, claimWatch }: TrashParts,
) {
  const { host, overcommit, trashMs: termMs } = config;
  const removed = new RemovedVolumes(mirror, store);
  const makeRoom = (driver: VolumeDriver, bytes: number) => trashKeeper.makeRoom(driver, bytes);
  const promises = store.properties.multiHost
    ? new Promises({ mirror, store, clock, host })
    : undefined;
  const room = new PoolRoom({ catalog, overcommit, host, clock, makeRoom, promises });
  const claims = (volume: string) =>
    claimWatch.keysOf(volume).flatMap((key) => {
      const [mark, value] = [parseClaimKey(key)?.mark, mirror.record(key)?.value];
      return mark !== undefined && value !== undefined ? [{ mark, value }] : [];
    });
  const trash = new Trash({
    ...{ removed, catalog, drivers, pools, mounts, room, locks, events, clock, claims },
    ...{ host, termMs, noteUse },
  });
  const trashKeeper = new TrashKeeper({ trash, drivers, clock, signal });
  return { removed, room, trash, trashKeeper };
}
