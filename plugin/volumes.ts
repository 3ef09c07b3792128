import { join } from 'node:path';
import { bootId } from '../lib/linux/boot.ts';
import type { DriverPlace } from '../lib/volumes/drivers/driver.ts';
import { Evictions } from '../lib/volumes/mounts/evictions.ts';
import { foundMounts } from '../lib/volumes/mounts/found-mount.ts';
import { FoundMounts } from '../lib/volumes/mounts/found-mounts.ts';
import { KeyedMutex } from '../lib/volumes/mounts/keyed-mutex.ts';
import { MountRecovery } from '../lib/volumes/mounts/mount-recovery.ts';
import { MountStates } from '../lib/volumes/mounts/mount-state.ts';
import { MountTable } from '../lib/volumes/mounts/mount-table.ts';
import { Mounts } from '../lib/volumes/mounts/mounts.ts';
import { answeredVolumes } from '../lib/volumes/operations/answered-volumes.ts';
import { ClaimWatch } from '../lib/volumes/operations/claim-watch.ts';
import { FenceCommand } from '../lib/volumes/operations/fence-command.ts';
import { Fencing } from '../lib/volumes/operations/fencing.ts';
import { LockedVolumes } from '../lib/volumes/operations/locked-volumes.ts';
import { relocker } from '../lib/volumes/operations/relocker.ts';
import { reservedVolumes } from '../lib/volumes/operations/reserved-volumes.ts';
import { Takeovers } from '../lib/volumes/operations/takeovers.ts';
import { UncleanEnds } from '../lib/volumes/operations/unclean-ends.ts';
import { Volumes } from '../lib/volumes/operations/volumes.ts';
import { PoolRoom } from '../lib/volumes/pools/pool-room.ts';
import { Claims } from '../lib/volumes/records/claims.ts';
import type { VolumeService } from '../lib/volumes/service.ts';
import { Lanes } from '../lib/volumes/worker/lanes.ts';
import { remoteDrivers } from '../lib/volumes/worker/remote-drivers.ts';
import { WorkerProcess } from '../lib/volumes/worker/worker-process.ts';
import type { OpenCluster, Start } from './cluster.ts';
import { sentinelSuffix } from './config/settings.ts';
import type { EndedContainers } from './engine/ended-containers.ts';
import type { EventLog } from './events/event-log.ts';
import { sentinelFence } from './fencing/fence.ts';
import { hostAddresses } from './host/identity.ts';
import type { StateReserve } from './host/state-reserve.ts';

export type HostMounts = Awaited<ReturnType<typeof openMounts>>;

/** Opens the mounts of this host, and their fence. */
export async function openMounts(
  { config, clock, started }: Start,
  { manager, locks, catalog, identity, store }: OpenCluster,
  events: EventLog,
  ended: EndedContainers,
) {
  const { lanes, drivers: allDrivers } = openStorage({ config, clock, started }, events);
  const boot = bootId();
  const fence = sentinelFence({
    ...{ drivers: allDrivers, bootId: boot, clock, events },
    ...{ dockerSocket: config.dockerSocket, stateDir: config.stateDir, ttlMs: config.ttlMs },
    socketPath: config.adminSocket + sentinelSuffix,
    fenceHostProcesses: config.fenceHostProcesses,
    leftMs: () => manager.leftMs,
    marginMs: () => manager.marginMs,
    mountpointOf: (volume) => mounts.mountpoint(volume),
    onEnded: async (container) => {
      if (config.onLostRestart === 'yes') await ended.add(container);
    },
  });
  const table = started.use(await MountTable.open(join(config.stateDir, 'mounts.json'), clock));
  const states = new MountStates(table.rows(), boot, await foundMounts(config.mountDir, table));
  const mutex = new KeyedMutex();
  const relocks = relocker({ locks, catalog, manager, owner: identity });
  const claims = new Claims(store);
  const claimant = { owner: identity, host: config.host, addresses: hostAddresses(), boot };
  const parts = {
    table,
    states,
    drivers: allDrivers,
    mutex,
    fence,
    bootId: boot,
    claims,
    claimant,
  };
  const found = new FoundMounts({ ...parts, catalog, locks: relocks });
  const mounts = new Mounts({ ...parts, mountDir: config.mountDir });
  const recovery = new MountRecovery({ ...parts, mounts, found, events, locks: relocks });
  started.defer(() => fence.leave());
  // At each renewal, so that the sentinel knows the new deadline long before the next one is due.
  started.use(manager.onSessionHeard(() => fence.deadlineChanged()));
  return { ...parts, lanes, mounts, found, recovery };
}

/** Starts the process that does the storage work, and returns the drivers that run there. */
function openStorage({ config, clock, started }: Omit<Start, 'signal'>, events: EventLog) {
  const place: DriverPlace = {
    volumeDir: config.volumeDir,
    hostDir: config.stateDir,
    report: (volume, message) =>
      events.record({ severity: 'warning', kind: 'kept', volume, message }),
  };
  const lanes = started.use(
    new Lanes({ start: () => new WorkerProcess({ place, clock }), clock, events }),
  );
  lanes.warmUp();
  return { lanes, drivers: remoteDrivers(place, lanes) };
}

/** Returns the operations on volumes, and the clearing of their locks. */
export function openVolumes(
  { config, clock, started }: Start,
  { store, locks, catalog, mirror, pools }: OpenCluster,
  { drivers: allDrivers, lanes, mounts, found, recovery, mutex, ...others }: HostMounts,
  events: EventLog,
  reserve: StateReserve,
) {
  const { states, claims, claimant } = others;
  const fencing = new Fencing({
    ...{ drivers: allDrivers, command: config.fenceCommand },
    hasOtherHosts: store.properties.multiHost,
  });
  const command =
    config.fenceCommand === undefined
      ? undefined
      : new FenceCommand({ program: config.fenceCommand, events });
  const takeovers = new Takeovers({
    ...{ claims, claimant, fencing, command, drivers: allDrivers, events, clock },
  });
  const claimWatch = new ClaimWatch({
    ...{ mirror, claims, claimant, takeovers, catalog, mounts, states, mutex },
  });
  started.use(claimWatch.follow());
  const uncleanEnds = new UncleanEnds({ mirror, store, claims, claimant, events });
  const unlocked = new Volumes({
    ...{ catalog, drivers: allDrivers, mounts, pools, clock, fencing },
    claimKeys: (volume) => claimWatch.keysOf(volume),
    room: new PoolRoom({ catalog, overcommit: config.overcommit }),
    host: config.host,
  });
  const locked = new LockedVolumes({
    ...{ volumes: unlocked, locks, catalog, mirror, mounts, found, recovery, mutex, clock },
    ...{ takeovers, fencing, claimant },
    defaultDriver: config.driver,
    lockTimeoutMs: config.lockTimeoutMs,
  });
  const volumes: VolumeService = answeredVolumes(reservedVolumes(locked, reserve), lanes);
  const evictions = new Evictions({
    ...{ locks, store, mirror, catalog, recovery, clock },
    host: config.host,
    limitMs: config.ttlMs + 1_000,
  });
  started.use(evictions.follow());
  const learn = async () => {
    for (const driver of allDrivers.values()) {
      if ((await pools.trouble(driver)) === undefined) {
        await fencing.learn(driver.name, { isNeeded: false });
      }
    }
  };
  return { unlocked, volumes, evictions, claimWatch, uncleanEnds, command, fencing, learn };
}
