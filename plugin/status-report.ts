import type { Clock } from '../lib/running/clock.ts';
import type { PoolWatch } from '../lib/volumes/pools/pool-watch.ts';
import { silenceConditions } from '../lib/volumes/silence.ts';
import type { StatusReport } from './admin/api.ts';
import { conditionsOf } from './admin/conditions.ts';
import type { OpenCluster } from './cluster.ts';
import type { Config } from './config/config.ts';
import { shortTtl } from './fencing/fence-conditions.ts';
import type { StateReserve } from './host/state-reserve.ts';
import type { HostMounts, openVolumes } from './volumes.ts';

/** The parts that have something to say beside the mounts and the store. */
interface StatusSources {
  readonly poolWatch: PoolWatch;
  readonly reserve: StateReserve;
}

export type StatusParts = Pick<
  OpenCluster & HostMounts & ReturnType<typeof openVolumes> & StatusSources,
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

/** Says what an operator should know of this host. */
export async function statusReport(
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
