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
import { OneContainer } from '../lib/volumes/mounts/one-container.ts';
import { standIn } from '../lib/volumes/mounts/stand-in.ts';
import { answeredVolumes } from '../lib/volumes/operations/answered-volumes.ts';
import { ClaimWatch } from '../lib/volumes/operations/claim-watch.ts';
import { CopiesInUse } from '../lib/volumes/operations/copies-in-use.ts';
import { FenceCommand } from '../lib/volumes/operations/fence-command.ts';
import { Fencing } from '../lib/volumes/operations/fencing.ts';
import { LockedVolumes } from '../lib/volumes/operations/locked-volumes.ts';
import { MarkKeeper } from '../lib/volumes/operations/mark-keeper.ts';
import { presentVolumes } from '../lib/volumes/operations/present-volumes.ts';
import { Prune } from '../lib/volumes/operations/prune.ts';
import { relocker } from '../lib/volumes/operations/relocker.ts';
import { reservedVolumes } from '../lib/volumes/operations/reserved-volumes.ts';
import { RuleWatch } from '../lib/volumes/operations/rule-watch.ts';
import { Takeovers } from '../lib/volumes/operations/takeovers.ts';
import { UncleanEnds } from '../lib/volumes/operations/unclean-ends.ts';
import type { VolumesOptions } from '../lib/volumes/operations/volumes.ts';
import { Volumes } from '../lib/volumes/operations/volumes.ts';
import { Claims } from '../lib/volumes/records/claims.ts';
import { LastUses, lastUseNote } from '../lib/volumes/records/last-uses.ts';
import type { VolumeService } from '../lib/volumes/service.ts';
import { Lanes } from '../lib/volumes/worker/lanes.ts';
import { remoteDrivers } from '../lib/volumes/worker/remote-drivers.ts';
import { WorkerProcess } from '../lib/volumes/worker/worker-process.ts';
import type { OpenCluster, Start } from './cluster.ts';
import { sentinelSuffix } from './config/settings.ts';
import { containerCommands } from './engine/container-commands.ts';
import type { EndedContainers } from './engine/ended-containers.ts';
import type { Engine } from './engine/engine.ts';
import { askEngine } from './engine/volume-containers.ts';
import type { EventLog } from './events/event-log.ts';
import { sentinelFence } from './fencing/fence.ts';
import { hostAddresses } from './host/identity.ts';
import type { StateReserve } from './host/state-reserve.ts';
import { openTrash } from './trash.ts';

export type HostMounts = Awaited<ReturnType<typeof openMounts>>;

/** Opens the mounts of this host, and their fence. */
export async function openMounts(
  { config, clock, started }: Start,
  { manager, locks, catalog, identity, store }: OpenCluster,
  events: EventLog,
  ended: EndedContainers,
) {
  const { lanes, drivers: allDrivers } = await openStorage(
    { config, clock, started },
    identity,
    events,
  );
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
  const claims = new Claims(store, identity);
  const claimant = { owner: identity, host: config.host, addresses: hostAddresses(), boot };
  const isShared = store.properties.multiHost;
  const relocks = relocker({ locks, catalog, manager, claimant, clock, isShared });
  const parts = {
    table,
    states,
    drivers: allDrivers,
    mutex,
    fence,
    bootId: boot,
    claims,
    claimant,
    noteUse: (volume: string) => lastUseNote(volume, config.host, clock.date()),
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
async function openStorage(
  { config, clock, started }: Omit<Start, 'signal'>,
  owner: string,
  events: EventLog,
) {
  const place: DriverPlace = {
    volumeDir: config.volumeDir,
    hostDir: config.stateDir,
    owner,
    report: (volume, message) =>
      events.record({ severity: 'warning', kind: 'kept', volume, message }),
  };
  const lanes = started.use(
    new Lanes({ start: () => new WorkerProcess({ place, clock }), clock, events }),
  );
  lanes.warmUp();
  return { lanes, drivers: await remoteDrivers(place, lanes) };
}

type VolumesParts = Pick<VolumesOptions, 'mappedRoot'> & {
  readonly events: EventLog;
  readonly reserve: StateReserve;
  readonly engine: Engine;
};

/** Returns the operations on volumes, and the clearing of their locks. */
export function openVolumes(
  start: Start,
  cluster: OpenCluster,
  { drivers: allDrivers, lanes, mounts, found, recovery, mutex, ...others }: HostMounts,
  { events, reserve, engine, mappedRoot }: VolumesParts,
) {
  const { config, clock, started } = start;
  const { store, locks, catalog, mirror, pools } = cluster;
  const { states, claims, claimant, fence, noteUse } = others;
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
  started.use(new MarkKeeper({ mirror, mounts, states, mutex, claimant, clock }).follow());
  started.use(new RuleWatch({ mirror, catalog, mounts, mutex }).follow());
  const uncleanEnds = new UncleanEnds({ mirror, store, claims, claimant, events });
  const kept = openTrash(start, cluster, {
    ...{ drivers: allDrivers, mounts, events, noteUse, claimWatch },
  });
  const lastUses = new LastUses(mirror, store);
  const { trash, room } = kept;
  const unlocked = new Volumes({
    ...{ catalog, drivers: allDrivers, mounts, pools, clock, fencing, trash, room },
    ...{ claims, claimant, noteUse, containers: askEngine(engine) },
    claimKeys: (volume) => claimWatch.keysOf(volume),
    copies: new CopiesInUse({
      ...{ standstills: fence.standstills, events, holdLimitMs: config.holdLimitMs },
      commands: containerCommands(engine),
    }),
    mappedRoot,
    host: config.host,
  });
  const locked = new LockedVolumes({
    ...{ volumes: unlocked, locks, catalog, mirror, mounts, found, recovery, mutex, clock },
    ...{ takeovers, fencing, claimant, noteUse, lastUses },
    oneContainer: new OneContainer({ engine: askEngine(engine) }),
    standIn: started.use(standIn(config.mountDir)),
    defaultDriver: config.driver,
    defaultAccess: config.defaultAccess,
    lockTimeoutMs: config.lockTimeoutMs,
  });
  const present = presentVolumes(locked, cluster.lost, mounts);
  const volumes: VolumeService = answeredVolumes(reservedVolumes(present, reserve), lanes);
  const prune = new Prune({ volumes, lastUses, clock });
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
  return {
    ...kept,
    prune,
    unlocked,
    volumes,
    evictions,
    claimWatch,
    uncleanEnds,
    command,
    fencing,
    learn,
  };
}
