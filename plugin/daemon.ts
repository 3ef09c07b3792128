import { join } from 'node:path';
import createDebug from 'debug';
import { bootId } from '../lib/linux/boot.ts';
import { requirePropagation } from '../lib/linux/propagation.ts';
import { readIfThere, replaceFile } from '../lib/linux/state-file.ts';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { LockDriver } from '../lib/lock/use/lock-driver.ts';
import type { Clock } from '../lib/running/clock.ts';
import { systemClock } from '../lib/running/clock.ts';
import { doctor } from '../lib/volumes/doctor/doctor.ts';
import { kernelHeldGroups } from '../lib/volumes/doctor/held.ts';
import type { DriverPlace } from '../lib/volumes/drivers/driver.ts';
import { Evictions } from '../lib/volumes/mounts/evictions.ts';
import { foundMounts } from '../lib/volumes/mounts/found-mount.ts';
import { FoundMounts } from '../lib/volumes/mounts/found-mounts.ts';
import { KeyedMutex } from '../lib/volumes/mounts/keyed-mutex.ts';
import { fencedMounts } from '../lib/volumes/mounts/mount-fence.ts';
import { MountRecovery } from '../lib/volumes/mounts/mount-recovery.ts';
import { MountStates } from '../lib/volumes/mounts/mount-state.ts';
import { MountTable } from '../lib/volumes/mounts/mount-table.ts';
import { Mounts } from '../lib/volumes/mounts/mounts.ts';
import { answeredVolumes } from '../lib/volumes/operations/answered-volumes.ts';
import { ClaimWatch } from '../lib/volumes/operations/claim-watch.ts';
import { FenceCommand } from '../lib/volumes/operations/fence-command.ts';
import { Fencing } from '../lib/volumes/operations/fencing.ts';
import { isFreeHere } from '../lib/volumes/operations/free-volumes.ts';
import { LockedVolumes } from '../lib/volumes/operations/locked-volumes.ts';
import { relocker } from '../lib/volumes/operations/relocker.ts';
import { reservedVolumes } from '../lib/volumes/operations/reserved-volumes.ts';
import { Takeovers } from '../lib/volumes/operations/takeovers.ts';
import { UncleanEnds } from '../lib/volumes/operations/unclean-ends.ts';
import { Volumes } from '../lib/volumes/operations/volumes.ts';
import { PoolRoom } from '../lib/volumes/pools/pool-room.ts';
import { PoolWatch } from '../lib/volumes/pools/pool-watch.ts';
import { Pools } from '../lib/volumes/pools/pools.ts';
import { Catalog } from '../lib/volumes/records/catalog.ts';
import { Claims } from '../lib/volumes/records/claims.ts';
import { Cluster } from '../lib/volumes/records/cluster.ts';
import type { RememberedRecordsOptions } from '../lib/volumes/records/remembered-records.ts';
import { RememberedRecords } from '../lib/volumes/records/remembered-records.ts';
import type { VolumeService } from '../lib/volumes/service.ts';
import { silenceConditions } from '../lib/volumes/silence.ts';
import { Lanes } from '../lib/volumes/worker/lanes.ts';
import { remoteDrivers } from '../lib/volumes/worker/remote-drivers.ts';
import { WorkerProcess } from '../lib/volumes/worker/worker-process.ts';
import type { StatusReport } from './admin/api.ts';
import { adminApp } from './admin/app.ts';
import { conditionsOf } from './admin/conditions.ts';
import type { Config } from './config/config.ts';
import { sentinelSuffix } from './config/settings.ts';
import { dockerApp } from './docker/app.ts';
import { EndedContainers } from './engine/ended-containers.ts';
import { Engine } from './engine/engine.ts';
import { introduceTo } from './engine/introduction.ts';
import { Reconciler } from './engine/reconciler.ts';
import { Restarts } from './engine/restarts.ts';
import type { Apps, InheritedSockets } from './entrances.ts';
import { listenEarly } from './entrances.ts';
import { EventFile } from './events/event-file.ts';
import { EventLog } from './events/event-log.ts';
import { sentinelFence } from './fencing/fence.ts';
import { shortTtl } from './fencing/fence-conditions.ts';
import { hostAddresses, hostIdentity } from './host/identity.ts';
import { joinStore } from './host/membership.ts';
import { takeStateDirectory } from './host/state-directory.ts';
import { StateReserve } from './host/state-reserve.ts';
import { openStore } from './host/store.ts';

const log = createDebug('berth:main');

/** How long the start waits for the store before it serves without it. */
const joinPatienceMs = 3_000;

/** A running daemon. */
export interface Daemon {
  /** Rejects when the daemon can't go on, for example because another daemon has its identity. */
  readonly failed: Promise<never>;
  /** Answers the requests in flight, releases the locks of all but mounted volumes, and ends. */
  stop(): Promise<void>;
}

/** The arguments that every part of the daemon starts with. */
interface Start {
  readonly config: Config;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
  /** The parts that end with the daemon, in the reverse order of their start. */
  readonly started: AsyncDisposableStack;
}

/** Starts the daemon: sockets, then store and locks, mounts, volumes; then requests are let in. */
export async function startDaemon(config: Config, inherited?: InheritedSockets): Promise<Daemon> {
  await requirePropagation(config.mountDir);
  const clock = systemClock();
  const stopping = new AbortController();
  await using sockets = new AsyncDisposableStack();
  await using started = new AsyncDisposableStack();
  const start: Start = { config, clock, signal: stopping.signal, started };
  started.use(await takeStateDirectory(config.stateDir));
  // Before the store: it may be away, and no request must be refused because of that.
  const entrances = sockets.use(await listenEarly(config, { inherited, clock }));

  const cluster = await openCluster(start);
  const events = await openEvents(start);
  const ended = await openEnded(start);
  const host = await openMounts(start, cluster, events, ended);
  const { manager } = cluster;
  started.defer(() => manager.close({ keep: !host.states.isEmpty }));
  started.defer(() => stopping.abort());
  const reserve = new StateReserve(config.stateDir);
  void reserve.run(clock, stopping.signal);
  const volumes = openVolumes(start, cluster, host, events, reserve);
  const engine = new Engine(config.dockerSocket, config.name);
  const reconciler = new Reconciler({
    ...{ mounts: host.mounts, engine, events, clock, signal: stopping.signal },
    intervalMs: config.reconcileIntervalMs,
  });

  const { identity } = cluster;
  const restarts = new Restarts({
    ...{ ended, engine, events, clock, signal: stopping.signal },
    isFree: (volume) => isFreeHere(volume, { ...cluster, ...host, owner: identity }),
  });
  const poolWatch = new PoolWatch({
    ...{ pools: cluster.pools, drivers: host.drivers, events, clock, signal: stopping.signal },
    mounted: () =>
      host.mounts.rows().filter(({ volume }) => host.mounts.lockState(volume) === 'held'),
  });
  const adopt = async () => {
    const isComplete = await host.recovery.adopt();
    if (isComplete) await volumes.claimWatch.settle();
    return isComplete;
  };
  const joined = joinStore({
    ...{ manager, recovery: { adopt }, identity, clock, signal: stopping.signal },
    ttlMs: config.ttlMs,
  });
  await atMost(joinPatienceMs, clock, Promise.all([joined, manager.mirror.firstReset]));
  host.fence.changed(fencedMounts(host.table, host.states));
  void host.fence.run(stopping.signal);

  entrances.open(
    apps(start, {
      ...{ ...cluster, ...host, ...volumes },
      ...{ reconciler, events, engine, poolWatch, reserve },
    }),
  );
  started.use(sockets.move()); // From here on the sockets close before the objects that they use.
  void joined.then(() => reconciler.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => poolWatch.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => volumes.learn()).catch((error) => log('ERROR %s', error));
  void joined.then(() => restarts.run()).catch((error) => log('ERROR %s', error));
  void introduceTo(engine, clock, stopping.signal);
  started.defer(() => stopping.abort()); // Runs first: it ends the requests that hold locks.
  const running = started.move();
  return {
    failed: joined.then(() => new Promise<never>(() => {})),
    stop: () => running.disposeAsync(),
  };
}

type OpenCluster = Awaited<ReturnType<typeof openCluster>>;

/** Opens the part that all hosts share: the store, its locks and the volumes' records. */
async function openCluster({ config, clock, started }: Start) {
  const store = started.use(await openStore(config));
  const identity = await hostIdentity(config.host, config.stateDir);
  // Each kind of store has sessions of its own.
  const sessionPath = join(config.stateDir, `session-${config.store.kind}`);
  const manager = new LockManager({
    store,
    host: config.host,
    owner: identity,
    ttlMs: config.ttlMs,
    keep: {
      resume: await readIfThere(sessionPath),
      save: (id) => replaceFile(sessionPath, id),
    },
  });
  const remembered = store.properties.multiHost
    ? started.use(await RememberedRecords.open(rememberedOptions(config, clock)))
    : undefined; // A store of this host alone is never away.
  const catalog = new Catalog(manager.mirror, store, remembered?.records);
  remembered?.follow(manager.mirror, () => catalog.list());
  const locks = new LockDriver(manager, config.lockTimeoutMs);
  const { mirror } = manager;
  const cluster = new Cluster({ mirror, store });
  const pools = new Pools({
    ...{ cluster, catalog, mirror, store, clock },
    ...{ host: config.host, owner: identity },
  });
  return { store, identity, manager, locks, catalog, mirror, pools };
}

async function openEvents({ config, clock, started }: Start): Promise<EventLog> {
  const file = started.use(new EventFile(join(config.stateDir, 'events.jsonl')));
  const past = await file.read();
  return new EventLog({ past, keep: (event) => file.append(event), clock });
}

/** Opens the list of the containers to start again; it is empty while the setting is off. */
async function openEnded({ config }: Start): Promise<EndedContainers> {
  const ended = await EndedContainers.open(join(config.stateDir, 'ended-containers.json'));
  if (config.onLostRestart === 'no') await ended.clear();
  return ended;
}

type HostMounts = Awaited<ReturnType<typeof openMounts>>;

/** Opens the mounts of this host, and their fence. */
async function openMounts(
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
function openVolumes(
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

type Parts = OpenCluster &
  HostMounts &
  ReturnType<typeof openVolumes> & {
    readonly reconciler: Reconciler;
    readonly events: EventLog;
    readonly engine: Engine;
    readonly poolWatch: PoolWatch;
    readonly reserve: StateReserve;
  };

/** Returns the two protocols, for the two sockets. */
function apps({ config, clock, signal }: Start, parts: Parts): Apps {
  const { store, identity, locks, volumes, unlocked, evictions, reconciler, events } = parts;
  const { uncleanEnds } = parts;
  const onActivate = () => reconciler.engineStarted();
  const scope = store.properties.multiHost ? 'global' : 'local';
  const physician = doctor({
    ...{ ...parts, volumes: unlocked, owner: identity, clock },
    ...{ mountDir: config.mountDir, pluginName: config.name, held: kernelHeldGroups },
  });
  return {
    docker: { app: dockerApp(volumes, { scope, onActivate, clock }), onActivate },
    admin: adminApp({
      ...{ volumes, locks, clearer: evictions, doctor: physician, events, clock, uncleanEnds },
      status: () => statusReport(config, clock, parts),
      stopping: signal,
    }),
  };
}

/** Waits for `work`, but no longer than `limitMs`. Rejects when `work` does in that time. */
async function atMost(limitMs: number, clock: Clock, work: Promise<unknown>): Promise<void> {
  const ended = new AbortController();
  await Promise.race([work, clock.sleep(limitMs, ended.signal)]).finally(() => ended.abort());
}

function rememberedOptions(
  { stateDir, store, prefix }: Config,
  clock: Clock,
): RememberedRecordsOptions {
  return { path: join(stateDir, 'records.json'), store: `${store.kind} ${prefix}`, clock };
}

type StatusParts = Pick<
  Parts,
  | 'manager'
  | 'mounts'
  | 'fence'
  | 'lanes'
  | 'poolWatch'
  | 'reserve'
  | 'command'
  | 'fencing'
  | 'catalog'
>;

async function statusReport(
  { host, store, ttlMs }: Config,
  clock: Clock,
  { manager, mounts, fence, lanes, poolWatch, reserve, command, fencing, catalog }: StatusParts,
): Promise<StatusReport> {
  const fencingOf = (volume: string) => {
    const record = catalog.get(volume);
    return record ? { fencing: fencing.of(record) } : {};
  };
  return {
    host,
    store: { kind: store.kind, reachable: manager.mirror.isLive },
    mounts: mounts.rows().map(({ volume, mountpoint }) => ({
      volume,
      mountpoint,
      lock: mounts.lockState(volume),
      ...fencingOf(volume),
    })),
    conditions: [
      ...(await conditionsOf(manager, clock)),
      ...mounts.conditions(),
      ...(await poolWatch.conditions()),
      ...(await reserve.conditions()),
      ...fence.conditions(),
      ...silenceConditions(lanes),
      ...shortTtl(store.kind, ttlMs),
      ...(command?.waiting() ?? []).map((message) => ({ severity: 'warning' as const, message })),
    ],
  };
}
