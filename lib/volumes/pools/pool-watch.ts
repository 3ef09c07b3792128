import type { Condition } from '../../lock/condition.ts';
import type { Clock } from '../../running/clock.ts';
import { every } from '../../running/every.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { EventSink } from '../events.ts';
import { poolCondition, poolProblem } from './pool-conditions.ts';
import type { Pools } from './pools.ts';

export interface PoolWatchOptions {
  readonly pools: Pick<Pools, 'trouble'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly events: EventSink;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

const pauseMs = 10_000;

/** Notices while berth runs that a pool goes or comes back, and records an event for each change. */
export class PoolWatch {
  readonly #options: PoolWatchOptions;
  /** The problem of each driver's pool at the last look. */
  readonly #problems = new Map<string, string>();

  constructor(options: PoolWatchOptions) {
    this.#options = options;
  }

  /** Looks every few seconds until the signal aborts. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    for await (const _ of every(pauseMs, clock, signal)) await this.conditions();
  }

  /** Looks at all pools, and lists what is wrong with them. */
  async conditions(): Promise<Condition[]> {
    const all = [...this.#options.drivers.values()].map((driver) => this.#look(driver));
    return (await Promise.all(all)).flat();
  }

  async #look(driver: VolumeDriver): Promise<Condition[]> {
    const trouble = await this.#options.pools.trouble(driver);
    const had = this.#problems.get(driver.name);
    if (!trouble) {
      if (had !== undefined) this.#tellBack(driver);
      return [];
    }
    const problem = poolProblem(trouble);
    this.#problems.set(driver.name, problem);
    if (problem !== had) {
      const event = { severity: 'error', kind: 'pool-away', volume: '', message: problem } as const;
      this.#options.events.record(event);
    }
    return [poolCondition(trouble)];
  }

  #tellBack({ name, pool }: VolumeDriver): void {
    this.#problems.delete(name);
    const message = `the pool of driver ${name} at ${pool.place} can be used again`;
    this.#options.events.record({ severity: 'info', kind: 'pool-back', volume: '', message });
  }
}
