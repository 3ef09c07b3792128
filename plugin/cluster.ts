import { join } from 'node:path';
import { thisProcess } from '../lib/linux/process-identity.ts';
import { readIfThere, replaceFile } from '../lib/linux/state-file.ts';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { LockDriver } from '../lib/lock/use/lock-driver.ts';
import type { Clock } from '../lib/running/clock.ts';
import { Pools } from '../lib/volumes/pools/pools.ts';
import { Catalog } from '../lib/volumes/records/catalog.ts';
import { Cluster } from '../lib/volumes/records/cluster.ts';
import { LostRecords } from '../lib/volumes/records/lost-records.ts';
import type { RememberedRecordsOptions } from '../lib/volumes/records/remembered-records.ts';
import { RememberedRecords } from '../lib/volumes/records/remembered-records.ts';
import type { Config } from './config/config.ts';
import { hostIdentity, nameOfIdentity } from './host/identity.ts';
import { earlierSessionPath, ownStateDirectory } from './host/state-owner.ts';
import { openStore } from './host/store.ts';

/** The arguments that every part of the daemon starts with. */
export interface Start {
  readonly config: Config;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
  /** The parts that end with the daemon, in the reverse order of their start. */
  readonly started: AsyncDisposableStack;
}

export type OpenCluster = Awaited<ReturnType<typeof openCluster>>;

/** Opens the part that all hosts share: the store, its locks and the volumes' records. */
export async function openCluster({ config, clock, started }: Start) {
  const store = started.use(await openStore(config));
  const self = await hostIdentity(config.host, config.stateDir);
  const identity = nameOfIdentity(self);
  const { stateDir } = config;
  const stateOwner = await ownStateDirectory(stateDir, self, thisProcess(), clock.date());
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
  const remembered = started.use(await RememberedRecords.open(rememberedOptions(config, clock)));
  const catalog = new Catalog(manager.mirror, store, remembered.volumes);
  remembered.follow(manager.mirror);
  const locks = new LockDriver(manager, config.lockTimeoutMs);
  const { mirror } = manager;
  const lost = new LostRecords({ mirror, catalog, remembered });
  const cluster = new Cluster({ mirror, store, trouble: () => lost.clusterTrouble() });
  const pools = new Pools({
    ...{ cluster, catalog, mirror, store, clock },
    ...{ host: config.host, owner: identity },
  });
  const earlierSession = await readIfThere(earlierSessionPath(stateDir));
  const records = { catalog, remembered, lost, cluster, pools };
  return { store, identity, stateOwner, earlierSession, manager, locks, mirror, ...records };
}

function rememberedOptions(
  { stateDir, store, prefix }: Config,
  clock: Clock,
): RememberedRecordsOptions {
  return { path: join(stateDir, 'records.json'), store: `${store.kind} ${prefix}`, clock };
}
