import { join } from 'node:path';
import createDebug from 'debug';
import { bootId, bootNowMs } from '../lib/linux/boot.ts';
import { requirePropagation } from '../lib/linux/propagation.ts';
import { readIfThere, replaceFile } from '../lib/linux/state-file.ts';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { LockDriver } from '../lib/lock/use/lock-driver.ts';
import type { Clock } from '../lib/running/clock.ts';
import { systemClock } from '../lib/running/clock.ts';
import { doctor } from '../lib/volumes/doctor/doctor.ts';
import { drivers } from '../lib/volumes/drivers/registry.ts';
import { Evictions } from '../lib/volumes/mounts/evictions.ts';
import { KeyedMutex } from '../lib/volumes/mounts/keyed-mutex.ts';
import { fencedMounts } from '../lib/volumes/mounts/mount-fence.ts';
import { MountRecovery } from '../lib/volumes/mounts/mount-recovery.ts';
import { MountStates } from '../lib/volumes/mounts/mount-state.ts';
import { MountTable } from '../lib/volumes/mounts/mount-table.ts';
import { Mounts } from '../lib/volumes/mounts/mounts.ts';
import { LockedVolumes } from '../lib/volumes/operations/locked-volumes.ts';
import { relocker } from '../lib/volumes/operations/relocker.ts';
import { Volumes } from '../lib/volumes/operations/volumes.ts';
import { Catalog } from '../lib/volumes/records/catalog.ts';
import type { RememberedRecordsOptions } from '../lib/volumes/records/remembered-records.ts';
import { RememberedRecords } from '../lib/volumes/records/remembered-records.ts';
import type { StatusReport } from './admin/api.ts';
import { adminApp } from './admin/app.ts';
import { conditionsOf } from './admin/conditions.ts';
import type { Config } from './config/config.ts';
import { dockerApp } from './docker/app.ts';
import { Engine } from './engine/engine.ts';
import { introduceTo } from './engine/introduction.ts';
import { Reconciler } from './engine/reconciler.ts';
import { EventFile } from './events/event-file.ts';
import { EventLog } from './events/event-log.ts';
import { SentinelLink } from './fencing/sentinel-link.ts';
import { SentinelWatch } from './fencing/sentinel-watch.ts';
import { hostIdentity } from './host/identity.ts';
import { joinStore } from './host/membership.ts';
import { takeStateDirectory } from './host/state-directory.ts';
import { openStore } from './host/store.ts';
import type { InheritedSockets } from './http/entrances.ts';
import { listenEarly } from './http/entrances.ts';

const log = createDebug('berth:main');

/** How long the start waits for the store before it serves without it. */
const joinPatienceMs = 3_000;

/** A daemon that serves. */
export interface Daemon {
  /** Rejects when it can't go on, for example because another daemon has its identity. */
  readonly failed: Promise<never>;
  /** Answers what is in flight, releases what is not mounted, keeps what is. */
  stop(): Promise<void>;
}

/** Starts the daemon: config → sockets → store → locks → volumes → those who wait at the sockets. */
export async function startDaemon(config: Config, inherited?: InheritedSockets): Promise<Daemon> {
  await requirePropagation(config.mountDir);
  await using sockets = new AsyncDisposableStack();
  await using started = new AsyncDisposableStack();
  started.use(await takeStateDirectory(config.stateDir));
  // Before the store: it may be away, and nobody is to be refused because of that.
  const entrances = sockets.use(await listenEarly(config, inherited));
  const store = started.use(await openStore(config));
  const identity = await hostIdentity(config.host, config.stateDir);
  // A session of one kind of store means nothing to the other.
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
  const stopping = new AbortController();
  const clock = systemClock();
  const locks = new LockDriver(manager, config.lockTimeoutMs);
  const remembered = store.properties.multiHost
    ? started.use(await RememberedRecords.open(rememberedOptions(config, clock)))
    : undefined; // This host's own store is never away.
  const catalog = new Catalog(manager.mirror, store, remembered?.records);
  remembered?.follow(manager.mirror, () => catalog.list());
  const allDrivers = drivers({ volumeDir: config.volumeDir });
  const eventFile = started.use(new EventFile(join(config.stateDir, 'events.jsonl')));
  const events = new EventLog({
    past: await eventFile.read(),
    keep: (event) => eventFile.append(event),
    clock,
  });
  const boot = bootId();
  const watch = new SentinelWatch({
    link: new SentinelLink({
      socketPath: `${config.adminSocket}.sentinel`,
      dockerSocket: config.dockerSocket,
      logPath: join(config.stateDir, 'sentinel.log'),
    }),
    drivers: allDrivers,
    leftMs: () => manager.leftMs,
    ttlMs: config.ttlMs,
    bootId: boot,
    bootNowMs,
    clock,
    events,
  });
  const table = started.use(await MountTable.open(join(config.stateDir, 'mounts.json'), clock));
  const states = new MountStates(table.rows(), boot);
  const mutex = new KeyedMutex();
  const onHost = { table, states, drivers: allDrivers, mutex, fence: watch };
  const mounts = new Mounts({ ...onHost, mountDir: config.mountDir, bootId: boot });
  const recovery = new MountRecovery({
    ...{ ...onHost, mounts, events },
    locks: relocker(locks, catalog),
  });
  started.defer(() => watch.leave());
  // Told at once, so that the sentinel knows of a renewal long before the next one is due.
  started.use(manager.onSessionHeard(() => watch.deadlineChanged()));
  started.defer(() => manager.close({ keep: mounts.rows().length > 0 }));
  started.defer(() => stopping.abort());
  const engine = new Engine(config.dockerSocket, config.name);
  const reconciler = new Reconciler({
    ...{ mounts, engine, events, clock, signal: stopping.signal },
    intervalMs: config.reconcileIntervalMs,
  });
  const unlocked = new Volumes({
    catalog,
    drivers: allDrivers,
    host: config.host,
    mounts,
  });
  const volumes = new LockedVolumes({
    volumes: unlocked,
    locks,
    catalog,
    mirror: manager.mirror,
    mounts,
    recovery,
    mutex,
    defaultDriver: config.driver,
    lockTimeoutMs: config.lockTimeoutMs,
  });
  const evictions = new Evictions({
    ...{ locks, store, mirror: manager.mirror, catalog, recovery, clock },
    host: config.host,
    limitMs: config.ttlMs + 1_000,
  });
  started.use(evictions.follow());
  const joined = joinStore({
    ...{ manager, recovery, identity, clock, signal: stopping.signal },
    ttlMs: config.ttlMs,
  });
  const hasJoined = new AbortController();
  await Promise.race([
    Promise.all([joined, manager.mirror.firstReset]),
    clock.sleep(joinPatienceMs, hasJoined.signal),
  ]).finally(() => hasJoined.abort());

  watch.changed(fencedMounts(table, states));
  void watch.run(stopping.signal);

  const scope = store.properties.multiHost ? 'global' : 'local';
  const physician = doctor({
    ...{ catalog, drivers: allDrivers, locks, volumes: unlocked, mounts, recovery, mutex, clock },
    ...{ mountDir: config.mountDir, owner: identity, pluginName: config.name },
    ...{ manager, reconciler, mirror: manager.mirror },
  });
  const onActivate = () => reconciler.engineStarted();
  const status = statusReport(config, manager, mounts, watch, clock);
  entrances.open({
    docker: { app: dockerApp(volumes, { scope, onActivate }), onActivate },
    admin: adminApp({
      ...{ volumes, locks, clearer: evictions, doctor: physician, status, events },
      stopping: stopping.signal,
    }),
  });
  started.use(sockets.move()); // From here on they end before what they serve with.
  void joined.then(() => reconciler.run()).catch((error) => log('ERROR %s', error));
  void introduceTo(engine, clock, stopping.signal);
  started.defer(() => stopping.abort()); // First of all: it ends the requests that hold locks.
  const running = started.move();
  return {
    failed: joined.then(() => new Promise<never>(() => {})),
    stop: () => running.disposeAsync(),
  };
}

function rememberedOptions(
  { stateDir, store, prefix }: Config,
  clock: Clock,
): RememberedRecordsOptions {
  return { path: join(stateDir, 'records.json'), store: `${store.kind} ${prefix}`, clock };
}

function statusReport(
  config: Config,
  manager: LockManager,
  mounts: Mounts,
  watch: SentinelWatch,
  clock: Clock,
) {
  return async (): Promise<StatusReport> => ({
    host: config.host,
    store: { kind: config.store.kind, reachable: manager.mirror.isLive },
    mounts: mounts.rows().map(({ volume, mountpoint }) => ({
      volume,
      mountpoint,
      lock: mounts.lockState(volume),
    })),
    conditions: [
      ...(await conditionsOf(manager, clock)),
      ...mounts.conditions(),
      ...watch.conditions(),
    ],
  });
}
