import { join } from 'node:path';
import { LockManager } from '../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../lib/lock/use/lock-driver.ts';
import { directoryDriver } from '../../lib/volumes/drivers/directory/driver.ts';
import { lookingForMark } from '../../lib/volumes/drivers/looking-for-mark.ts';
import type { MountsAt } from '../../lib/volumes/mounts/found-mount.ts';
import type { AskEngine } from '../../lib/volumes/mounts/one-container.ts';
import { OneContainer } from '../../lib/volumes/mounts/one-container.ts';
import { CopiesInUse } from '../../lib/volumes/operations/copies-in-use.ts';
import { LockedVolumes } from '../../lib/volumes/operations/locked-volumes.ts';
import { Trash } from '../../lib/volumes/operations/trash.ts';
import { TrashKeeper } from '../../lib/volumes/operations/trash-keeper.ts';
import { Volumes } from '../../lib/volumes/operations/volumes.ts';
import { PoolRoom } from '../../lib/volumes/pools/pool-room.ts';
import { Pools } from '../../lib/volumes/pools/pools.ts';
import { Catalog } from '../../lib/volumes/records/catalog.ts';
import { Cluster } from '../../lib/volumes/records/cluster.ts';
import { LastUses } from '../../lib/volumes/records/last-uses.ts';
import type { KeptClaim } from '../../lib/volumes/records/removed-volumes.ts';
import { RemovedVolumes } from '../../lib/volumes/records/removed-volumes.ts';
import { FaultyStore } from './faulty-store.ts';
import { hostMounts } from './host-mounts.ts';
import { hostTakeovers } from './host-takeovers.ts';
import { noCommands, noStandstills } from './no-standstills.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import { watchedFile } from './watched-file.ts';

export interface HostVolumesOptions {
  readonly mountsAt?: MountsAt;
  /** Plays the Docker engine; without it no engine answers. */
  readonly askEngine?: AskEngine;
  /** How long removed volumes are kept; by default not at all. */
  readonly trashMs?: number;
  /** The claims that stand on each volume when it is removed. */
  readonly claims?: readonly KeptClaim[];
}

/** The place of the directory that stands in for a volume. */
export const standInPath = '/the/stand-in';

/** Plays a host without an engine. */
export const noEngine: AskEngine = () => Promise.reject(new Error('connect ENOENT'));

/** Returns the parts that decide about a second container, with no process that shows a mount. */
export function secondContainers(askEngine: AskEngine = noEngine) {
  return {
    oneContainer: new OneContainer({ engine: askEngine, isShownElsewhere: async () => false }),
    standIn: { path: async () => standInPath },
  };
}

/**
 * Makes the volumes of a host `n1` on a memory store that can be broken, in a temporary directory,
 * with a driver that mounts nothing in the kernel: that needs root. `looks` counts those at the pool.
 */
export async function hostVolumes({
  mountsAt = async () => [],
  askEngine = noEngine,
  trashMs = 0,
  claims = [],
}: HostVolumesOptions = {}) {
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
  // What a Create or a Remove looks at itself is not counted: it costs no call of the worker.
  const inPool = lookingForMark(real);
  const driver = { ...inPool, pool: { ...real.pool, look }, mount: nothing, unmount: nothing };
  const drivers = new Map([[driver.name, driver]]);
  const catalog = new Catalog(manager.mirror, store);
  const file = watchedFile(join(path, 'mounts.json'));
  const onHost = resources.use(
    await hostMounts({
      ...{ directory: path, locks, catalog, drivers, file, manager, owner: 'n1', mountsAt },
    }),
  );
  const { mounts, clock, events, noteUse } = onHost;
  const { mirror } = manager;
  const pools = new Pools({
    ...{ cluster: new Cluster({ mirror, store }), catalog, mirror, store, clock },
    ...{ host: 'n1', owner: 'n1' },
  });
  const room = new PoolRoom({ catalog, overcommit: 1, host: 'n1', clock });
  const { fencing, ...taking } = hostTakeovers({ store, drivers, events, clock });
  const removed = new RemovedVolumes(mirror, store);
  const trash = new Trash({
    ...{ removed, catalog, drivers, pools, mounts, room, locks, events, clock },
    ...{ host: 'n1', termMs: trashMs, claims: () => claims, noteUse },
  });
  const { signal } = resources.adopt(new AbortController(), (stopping) => stopping.abort());
  const keeper = new TrashKeeper({ trash, drivers, clock, signal });
  const lastUses = new LastUses(mirror, store);
  const unlocked = new Volumes({
    ...{ catalog, drivers, host: 'n1', mounts, pools, room, clock, fencing, trash },
    ...{ claims: taking.claims, claimant: taking.claimant, containers: askEngine, noteUse },
    claimKeys: () => [],
    copies: new CopiesInUse({
      ...{ standstills: noStandstills, commands: noCommands },
      events,
      holdLimitMs: 10_000,
    }),
  });
  const volumes = new LockedVolumes({
    ...{ ...onHost, ...taking, fencing, locks, catalog, mirror: manager.mirror },
    volumes: unlocked,
    lastUses,
    ...secondContainers(askEngine),
    defaultDriver: driver.name,
    lockTimeoutMs: 60_000,
  });
  await manager.mirror.firstReset;
  const owned = resources.move();
  return {
    ...{ ...onHost, ...taking, path, store, locks, catalog, mirror, drivers, driver, pools, file },
    ...{ volumes, unlocked, looks, lastUses, trash, keeper, removed },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export type HostVolumes = Awaited<ReturnType<typeof hostVolumes>>;
