import type { Condition } from '../../lock/condition.ts';
import type { Clock } from '../../running/clock.ts';
import { every } from '../../running/every.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { EventKind, EventSink } from '../events.ts';
import { fillingPool, poolCondition, poolOnRoot, stoppedVolume } from './pool-conditions.ts';
import type { Pools } from './pools.ts';
import type { OwnFileSystem } from './stopped-volumes.ts';
import { stoppedVolumes } from './stopped-volumes.ts';

interface MountedVolume extends OwnFileSystem {
  readonly driver: string;
}

export interface PoolWatchOptions {
  readonly pools: Pick<Pools, 'trouble' | 'space' | 'otherHosts'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** Returns the volumes mounted on this host under a proved lock. */
  readonly mounted: () => readonly MountedVolume[];
  readonly events: EventSink;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

/** A fault of a pool or of a volume in it, with the events of its begin and its end. */
interface Fault {
  /** Identifies the fault while its text changes. */
  readonly key: string;
  readonly condition: Condition;
  readonly kind: EventKind;
  readonly volume: string;
  /** While the fault of this key lasts, it is not known whether this one does. */
  readonly hiddenBy?: string;
  readonly end?: { readonly kind: EventKind; readonly message: string };
}

const pauseMs = 10_000;

/**
 * Notices while berth runs that a pool goes or comes back or fills, and that a mounted file system has
 * stopped writing. Each fault is a condition as long as it lasts, and an event when it begins and ends.
 */
export class PoolWatch {
  readonly #options: PoolWatchOptions;
  #faults: ReadonlyMap<string, Fault> = new Map();

  constructor(options: PoolWatchOptions) {
    this.#options = options;
  }

  /** Looks every few seconds until the signal aborts. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    for await (const _ of every(pauseMs, clock, signal)) await this.conditions();
  }

  /** Looks at all pools and at the mounted volumes, and lists what is wrong with them. */
  async conditions(): Promise<Condition[]> {
    const { drivers } = this.#options;
    const ofPools = await Promise.all([...drivers.values()].map((driver) => this.#ofPool(driver)));
    const all = [...ofPools.flat(), ...(await this.#ofVolumes())];
    this.#record(new Map(all.map((fault) => [fault.key, fault])));
    return all.map(({ condition }) => condition);
  }

  async #ofPool(driver: VolumeDriver): Promise<Fault[]> {
    const { name, pool } = driver;
    const at = `the pool of driver ${name} at ${pool.place}`;
    const trouble = await this.#options.pools.trouble(driver);
    if (trouble) {
      const condition = poolCondition(trouble);
      const end = { kind: 'pool-back', message: `${at} can be used again` } as const;
      return [{ key: `away ${name}`, condition, kind: 'pool-away', volume: '', end }];
    }
    const space = await this.#options.pools.space(driver);
    if (!space) return [];
    const faults: Fault[] = [];
    const filling = fillingPool(name, pool, space);
    const base = { volume: '', hiddenBy: `away ${name}` };
    if (filling) {
      const end = { kind: 'pool-has-room', message: `${at} has room again` } as const;
      const kind = 'pool-filling';
      faults.push({ ...base, key: `filling ${name}`, condition: filling, kind, end });
    }
    const others = driver.capabilities.hostOnly ? [] : this.#options.pools.otherHosts();
    const onRoot = poolOnRoot(name, pool, space, others);
    if (onRoot) {
      faults.push({ ...base, key: `on root ${name}`, condition: onRoot, kind: 'pool-on-root' });
    }
    return faults;
  }

  async #ofVolumes(): Promise<Fault[]> {
    const { mounted, drivers } = this.#options;
    const own = mounted().filter((row) => drivers.get(row.driver)?.capabilities.ownsFileSystem);
    const hasShutDown = async ({ volume, driver, mountpoint }: MountedVolume) =>
      (await drivers.get(driver)?.hasShutDown({ name: volume, options: {} }, mountpoint)) ?? false;
    return (await stoppedVolumes(own, hasShutDown)).map(({ volume }) => {
      const condition = stoppedVolume(volume);
      return { key: `stopped ${volume}`, condition, kind: 'read-only', volume };
    });
  }

  #record(faults: ReadonlyMap<string, Fault>): void {
    const { events } = this.#options;
    const had = this.#faults;
    this.#faults = faults;
    for (const [key, { condition, kind, volume }] of faults) {
      if (had.has(key)) continue;
      events.record({ severity: condition.severity, kind, volume, message: condition.message });
    }
    for (const [key, { volume, end, hiddenBy }] of had) {
      if (!end || faults.has(key) || (hiddenBy && faults.has(hiddenBy))) continue;
      events.record({ severity: 'info', volume, ...end });
    }
  }
}
