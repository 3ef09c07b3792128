import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import createDebug from 'debug';
import { requirePropagation } from '../lib/linux/propagation.ts';
import type { HistoryChange } from '../lib/lock/history.ts';
import type { Clock } from '../lib/running/clock.ts';
import { systemClock } from '../lib/running/clock.ts';
import { doctor } from '../lib/volumes/doctor/doctor.ts';
import { kernelHeldGroups } from '../lib/volumes/doctor/held.ts';
import { fencedMounts } from '../lib/volumes/mounts/mount-fence.ts';
import { isFreeHere } from '../lib/volumes/operations/free-volumes.ts';
import { PoolWatch } from '../lib/volumes/pools/pool-watch.ts';
import { adminApp } from './admin/app.ts';
import { conditionsOf } from './admin/conditions.ts';
import type { OpenCluster, Start } from './cluster.ts';
import { openCluster } from './cluster.ts';
import type { Config } from './config/config.ts';
import { dockerApp } from './docker/app.ts';
import { EndedContainers } from './engine/ended-containers.ts';
import { Engine } from './engine/engine.ts';
import { introduceTo } from './engine/introduction.ts';
import { MappedRoots } from './engine/mapped-root.ts';
import { NamesInTheWay } from './engine/names-in-the-way.ts';
import { Reconciler } from './engine/reconciler.ts';
import { Restarts } from './engine/restarts.ts';
import type { Apps, InheritedSockets } from './entrances.ts';
import { listenEarly } from './entrances.ts';
import { EventFile } from './events/event-file.ts';
import { EventLog } from './events/event-log.ts';
import type { HostName } from './host/host-name.ts';
import { hostName } from './host/host-name.ts';
import { MachineCopy } from './host/machine-copy.ts';
import { joinStore } from './host/membership.ts';
import { takeStateDirectory } from './host/state-directory.ts';
import { earlierSessionPath } from './host/state-owner.ts';
import { StateReserve } from './host/state-reserve.ts';
import { statusReport } from './status-report.ts';
import type { HostMounts } from './volumes.ts';
import { openMounts, openVolumes } from './volumes.ts';

const log = createDebug('berth:main');

/** How long the start waits for the store before it serves without it. */
const joinPatienceMs = 3_000;

/** A running daemon. */
export interface Daemon {
  /** Says why the store can't be reached, for people; undefined: it can. Answers within seconds. */
  storeTrouble(): Promise<string | undefined>;
  /** Resolves when the store has been reached. */
  readonly reached: Promise<void>;
  /** Rejects when the daemon can't go on, for example because another daemon has its identity. */
  readonly failed: Promise<never>;
  /** Answers the requests in flight, releases the locks of all but mounted volumes, and ends. */
  stop(): Promise<void>;
}

/** Starts the daemon: sockets, then store and locks, mounts, volumes; then requests are let in. */
export async function startDaemon(given: Config, inherited?: InheritedSockets): Promise<Daemon> {
  await requirePropagation(given.mountDir);
  const name = await hostName(given.stateDir, given.host);
  const config = { ...given, host: name.host };
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
  started.use(reportHistory(cluster.mirror, events));
  started.use(cluster.lost.follow(events));
  const ended = await openEnded(start);
  const host = await openMounts(start, cluster, events, ended);
  const { manager } = cluster;
  started.defer(() => manager.close({ keep: !host.states.isEmpty }));
  started.defer(() => stopping.abort());
  const { store, stateOwner, earlierSession } = cluster;
  const machineCopy = new MachineCopy({
    ...{ store, stateOwner, earlierSession, ttlMs: config.ttlMs },
    ...{ events, clock, signal: stopping.signal },
    forget: () => rm(earlierSessionPath(config.stateDir), { force: true }),
  });
  const reserve = new StateReserve(config.stateDir);
  void reserve.run(clock, stopping.signal);
  const engine = new Engine(config.dockerSocket, config.name);
  const mappedRoots = new MappedRoots({ engine, clock });
  const volumes = openVolumes(start, cluster, host, {
    ...{ events, reserve, engine },
    mappedRoot: (given) => mappedRoots.current(given),
  });
  const reconciler = new Reconciler({
    ...{ mounts: host.mounts, engine, events, clock, signal: stopping.signal },
    intervalMs: config.reconcileIntervalMs,
  });

  const namesInTheWay = new NamesInTheWay({
    ...{ engine, clock, signal: stopping.signal, intervalMs: config.reconcileIntervalMs },
    names: () => cluster.catalog.list().map(({ name: volume }) => volume),
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
    ...{
      manager,
      recovery: { adopt, putBack: () => host.recovery.putBack() },
      identity,
      clock,
      signal: stopping.signal,
    },
    earlierSession,
    ttlMs: config.ttlMs,
  });
  await atMost(joinPatienceMs, clock, Promise.all([joined, manager.mirror.firstReset]));
  host.fence.changed(fencedMounts(host.table, host.states));
  void host.fence.run(stopping.signal);

  entrances.open(
    apps(start, {
      ...{ ...cluster, ...host, ...volumes },
      ...{
        reconciler,
        mappedRoots,
        events,
        engine,
        poolWatch,
        reserve,
        machineCopy,
        hostName: name,
        namesInTheWay,
      },
    }),
  );
  started.use(sockets.move()); // From here on the sockets close before the objects that they use.
  void joined.then(() => reconciler.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => poolWatch.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => volumes.trashKeeper.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => volumes.learn()).catch((error) => log('ERROR %s', error));
  void joined.then(() => namesInTheWay.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => machineCopy.run()).catch((error) => log('ERROR %s', error));
  void joined.then(() => restarts.run()).catch((error) => log('ERROR %s', error));
  void introduceTo(engine, clock, stopping.signal);
  started.defer(() => stopping.abort()); // Runs first: it ends the requests that hold locks.
  const running = started.move();
  return {
    storeTrouble: () => storeTrouble(manager, clock),
    reached: manager.mirror.firstReset,
    failed: joined.then(() => new Promise<never>(() => {})),
    stop: () => running.disposeAsync(),
  };
}

async function openEvents({ config, clock, started }: Start): Promise<EventLog> {
  const file = started.use(new EventFile(join(config.stateDir, 'events.jsonl')));
  const past = await file.read();
  return new EventLog({ past, keep: (event) => file.append(event), clock });
}

/** Records an event for each change of the store's history, also for one noticed before. */
function reportHistory(mirror: OpenCluster['mirror'], events: EventLog): Disposable {
  const report = ({ why, isRefused }: HistoryChange) => {
    const message = isRefused
      ? why
      : `${why}: all locks have to be proved again, and nobody is granted one for a TTL; what was created or changed since the backup is missing from the records (docs/store-history.md)`;
    events.record({ severity: 'error', kind: 'history', volume: '', message });
  };
  if (mirror.lastHistoryChange) report(mirror.lastHistoryChange);
  return mirror.onHistoryChanged(report);
}

/** Goes on with a store that was refused, because an operator says so. */
async function acceptStore(store: OpenCluster['store'], events: EventLog): Promise<boolean> {
  const isAccepted = (await store.accept?.()) ?? false;
  if (!isAccepted) return false;
  const message =
    'an operator has accepted the store as it is: mounted volumes acquire their locks again; what was ' +
    'created or changed since its state is missing from the records (berth doctor)';
  events.record({ severity: 'warning', kind: 'history', volume: '', message });
  return true;
}

/** Opens the list of the containers to start again; it is empty while the setting is off. */
async function openEnded({ config }: Start): Promise<EndedContainers> {
  const ended = await EndedContainers.open(join(config.stateDir, 'ended-containers.json'));
  if (config.onLostRestart === 'no') await ended.clear();
  return ended;
}

type Parts = OpenCluster &
  HostMounts &
  ReturnType<typeof openVolumes> & {
    readonly reconciler: Reconciler;
    readonly mappedRoots: MappedRoots;
    readonly events: EventLog;
    readonly engine: Engine;
    readonly poolWatch: PoolWatch;
    readonly reserve: StateReserve;
    readonly machineCopy: MachineCopy;
    readonly hostName: HostName;
    readonly namesInTheWay: NamesInTheWay;
  };

/** Returns the two protocols, for the two sockets. */
function apps({ config, clock, signal }: Start, parts: Parts): Apps {
  const { store, identity, locks, volumes, unlocked, evictions, reconciler, events } = parts;
  const { uncleanEnds, mappedRoots, trash, prune } = parts;
  const onActivate = () => {
    mappedRoots.forget();
    reconciler.engineStarted();
  };
  const scope = store.properties.multiHost ? 'global' : 'local';
  const physician = doctor({
    ...{ ...parts, volumes: unlocked, owner: identity, clock },
    ...{ mountDir: config.mountDir, host: config.host, pluginName: config.name },
    held: kernelHeldGroups,
  });
  return {
    docker: { app: dockerApp(volumes, { scope, onActivate, clock }), onActivate },
    admin: adminApp({
      ...{ volumes, locks, clearer: evictions, doctor: physician, events, clock },
      ...{ uncleanEnds, trash, prune },
      acceptStore: () => acceptStore(store, events),
      status: () => statusReport(config, clock, parts),
      stopping: signal,
    }),
  };
}

async function storeTrouble(
  manager: OpenCluster['manager'],
  clock: Clock,
): Promise<string | undefined> {
  if (manager.mirror.isLive) return undefined;
  const conditions = await conditionsOf(manager, clock);
  const errors = conditions.filter(({ severity }) => severity === 'error');
  return errors.map(({ message }) => message).join('; ') || 'it has not answered yet';
}

/** Waits for `work`, but no longer than `limitMs`. Rejects when `work` does in that time. */
async function atMost(limitMs: number, clock: Clock, work: Promise<unknown>): Promise<void> {
  const ended = new AbortController();
  await Promise.race([work, clock.sleep(limitMs, ended.signal)]).finally(() => ended.abort());
}
