import type { Clock } from '../lib/running/clock.ts';
import { unreadableConditions } from '../lib/volumes/doctor/unreadable-records.ts';
import { UnavailableError } from '../lib/volumes/errors.ts';
import type { PoolWatch } from '../lib/volumes/pools/pool-watch.ts';
import { silenceConditions } from '../lib/volumes/silence.ts';
import type { VolumeRecord } from '../lib/volumes/volume.ts';
import type { StatusReport } from './admin/api/status.ts';
import { conditionsOf } from './admin/conditions.ts';
import type { OpenCluster } from './cluster.ts';
import type { Config } from './config/config.ts';
import { release } from './config/release.ts';
import type { NamesInTheWay } from './engine/names-in-the-way.ts';
import { shortTtl } from './fencing/fence-conditions.ts';
import { etcdSafety } from './host/etcd-safety.ts';
import type { HostName } from './host/host-name.ts';
import { formerNameConditions, nameConditions } from './host/host-name.ts';
import type { MachineCopy } from './host/machine-copy.ts';
import type { StateReserve } from './host/state-reserve.ts';
import type { HostMounts, openVolumes } from './volumes.ts';

/** The parts that have something to say beside the mounts and the store. */
interface StatusSources {
  readonly poolWatch: PoolWatch;
  readonly reserve: StateReserve;
  readonly machineCopy: MachineCopy;
  readonly hostName: HostName;
  readonly namesInTheWay: NamesInTheWay;
}

export type StatusParts = Pick<
  OpenCluster & HostMounts & ReturnType<typeof openVolumes> & StatusSources,
  | 'store'
  | 'manager'
  | 'mounts'
  | 'fence'
  | 'lanes'
  | 'poolWatch'
  | 'reserve'
  | 'machineCopy'
  | 'hostName'
  | 'namesInTheWay'
  | 'identity'
  | 'command'
  | 'fencing'
  | 'catalog'
  | 'lost'
>;

/** Says what an operator should know of this host. */
export async function statusReport(
  { host, store, ttlMs }: Config,
  clock: Clock,
  parts: StatusParts,
): Promise<StatusReport> {
  const {
    store: ticketStore,
    manager,
    mounts,
    fence,
    lanes,
    poolWatch,
    reserve,
    machineCopy,
  } = parts;
  const { command, fencing, catalog, lost } = parts;
  const fencingOf = (volume: string) => {
    const record = knownRecord(catalog, volume);
    return record ? { fencing: fencing.of(record) } : {};
  };
  const [members, conditions, poolConditions, reserveConditions, safety] = await Promise.all([
    ticketStore.members?.(),
    conditionsOf(manager, clock),
    poolWatch.conditions(),
    reserve.conditions(),
    etcdSafety(store),
  ]);
  return {
    release,
    host,
    store: {
      kind: store.kind,
      reachable: manager.mirror.isLive,
      ...(members && { members }),
    },
    mounts: mounts.rows().map(({ volume, mountpoint }) => ({
      volume,
      mountpoint,
      lock: mounts.lockState(volume),
      ...fencingOf(volume),
    })),
    conditions: [
      ...conditions,
      ...safety,
      ...lost.conditions(),
      ...unreadableConditions({ mirror: manager.mirror, catalog }),
      ...mounts.conditions(),
      ...poolConditions,
      ...reserveConditions,
      ...machineCopy.conditions(),
      ...nameConditions(parts.hostName),
      ...parts.namesInTheWay.conditions(),
      ...formerNameConditions(manager.mirror.tickets(), parts.identity),
      ...fence.conditions(),
      ...silenceConditions(lanes),
      ...shortTtl(store.kind, ttlMs),
      ...(command?.waiting() ?? []).map((message) => ({ severity: 'warning' as const, message })),
    ],
  };
}

/** Returns the record as far as it is known: one that can't be read, or not be asked for, hides nothing else. */
function knownRecord(catalog: StatusParts['catalog'], volume: string): VolumeRecord | undefined {
  try {
    return catalog.get(volume);
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}
