import { join } from 'node:path';
import { LockManager } from '../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../lib/lock/use/lock-driver.ts';
import { directoryDriver } from '../../lib/volumes/drivers/directory/driver.ts';
import type { MountsAt } from '../../lib/volumes/mounts/found-mount.ts';
import { LockedVolumes } from '../../lib/volumes/operations/locked-volumes.ts';
import { Volumes } from '../../lib/volumes/operations/volumes.ts';
import { PoolRoom } from '../../lib/volumes/pools/pool-room.ts';
import { Pools } from '../../lib/volumes/pools/pools.ts';
import { Catalog } from '../../lib/volumes/records/catalog.ts';
import { Cluster } from '../../lib/volumes/records/cluster.ts';
import { FaultyStore } from './faulty-store.ts';
import { hostMounts } from './host-mounts.ts';
import { hostTakeovers } from './host-takeovers.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import { watchedFile } from './watched-file.ts';

/**
 * Makes the volumes of a host `n1` on a memory store that can be broken, in a temporary directory,
 * with a driver that mounts nothing in the kernel: that needs root. `looks` counts those at the pool.
 */
export async function hostVolumes({ mountsAt = async () => [] }: { mountsAt?: MountsAt } = {}) {
  await using resources = new AsyncDisposableStack();
  const { path } = resources.use(await makeTemporaryDirectory());
  const store = new FaultyStore(memoryStore());
  const manager = new LockManager({ store, host: 'n1', owner: 'n1', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 60_000);
  const nothing = async () => {};
  const real = directoryDriver({ volumeDir: path });
  const looks = { count: 0 };
  const look = () => {
    looks.count += 1;
    return real.pool.look();
  };
  const driver = { ...real, pool: { ...real.pool, look }, mount: nothing, unmount: nothing };
  const drivers = new Map([[driver.name, driver]]);
  const catalog = new Catalog(manager.mirror, store);
  const file = watchedFile(join(path, 'mounts.json'));
  const onHost = resources.use(
    await hostMounts({
      ...{ directory: path, locks, catalog, drivers, file, manager, owner: 'n1', mountsAt },
    }),
  );
  const { mounts, clock, events } = onHost;
  const { mirror } = manager;
  const pools = new Pools({
    ...{ cluster: new Cluster({ mirror, store }), catalog, mirror, store, clock },
    ...{ host: 'n1', owner: 'n1' },
  });
  const room = new PoolRoom({ catalog, overcommit: 1 });
  const { fencing, ...taking } = hostTakeovers({ store, drivers, events, clock });
  const volumes = new LockedVolumes({
    ...{ ...onHost, ...taking, fencing, locks, catalog, mirror: manager.mirror },
    volumes: new Volumes({
      ...{ catalog, drivers, host: 'n1', mounts, pools, room, clock, fencing },
      claimKeys: () => [],
    }),
    defaultDriver: driver.name,
    lockTimeoutMs: 60_000,
  });
  await manager.mirror.firstReset;
  const owned = resources.move();
  return {
    ...{ ...onHost, path, store, locks, catalog, drivers, driver, pools, file, volumes, looks },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export type HostVolumes = Awaited<ReturnType<typeof hostVolumes>>;
