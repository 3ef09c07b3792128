import type { Lock } from '../../lock.ts';
import type { LockOptions, Locks } from '../../locks.ts';
import { LockPoolCapacityError } from './lock-pool-errors.ts';
import type { Standing } from './lock-pool-leases.ts';
import { leasesIn, leasesOf } from './lock-pool-leases.ts';
import { formatPoolState, parsePoolState } from './lock-pool-state.ts';

/** The default wait of a change. A change takes milliseconds, so a longer wait shows a fault. */
export const defaultTimeoutMs = 10_000;

/** The owners that a change writes, and the answer that its caller gets. */
export interface Change<T> {
  readonly owners: ReadonlyMap<number, string>;
  /** Numbers are leased after the change. */
  readonly hasLeases: boolean;
  readonly answer: T;
}

interface Read extends Standing {
  /** 0 if there is no record yet. */
  readonly revision: number;
}

export interface PoolPlace {
  readonly name: string;
  readonly capacity: number;
  /** The name of the pool in the names of locks. */
  readonly part: string;
}

/** The record of a pool with its leases, and how it is changed: by one guarded write under the pool's lock. */
export class PoolRecord {
  /** The name of the record, and of the lock that guards it. */
  readonly key: string;
  readonly #locks: Locks;
  readonly #place: PoolPlace;

  constructor(locks: Locks, place: PoolPlace) {
    this.#locks = locks;
    this.#place = place;
    this.key = `pool/${place.part}`;
  }

  /** Reads what is allocated. Rejects LockPoolCapacityError. */
  async read(): Promise<Standing> {
    return this.#checked(await this.#read());
  }

  /** Writes the state that `next` returns. Rejects LockPoolCapacityError, unless the pool may have any capacity. */
  async change<T>(
    options: LockOptions,
    next: (state: Standing, poolLock: Lock) => Change<T> | Promise<Change<T>>,
    { anyCapacity = false } = {},
  ): Promise<T> {
    const limited = { timeoutMs: defaultTimeoutMs, ...options };
    await using lock = await this.#locks.lock([{ name: this.key, mode: 'exclusive' }], limited);
    const read = await this.#read();
    const state = anyCapacity ? read : this.#checked(read);
    const { owners, hasLeases, answer } = await next(state, lock);
    const { capacity } = this.#place;
    const value = formatPoolState({ capacity, owners, hasLeases, token: lock.token });
    await lock.guard([{ key: this.key, value, expectedRevision: read.revision }], { unlock: true });
    return answer;
  }

  async #read(): Promise<Read> {
    const { name, capacity, part } = this.#place;
    const [record, tickets] = await Promise.all([
      this.#locks.record(this.key),
      this.#locks.inspect(leasesOf(part)),
    ]);
    const leases = leasesIn(part, tickets);
    if (!record) return { revision: 0, capacity, owners: new Map(), leases };
    try {
      return { revision: record.revision, ...parsePoolState(record.value), leases };
    } catch (cause) {
      throw new Error(`the record of lock pool ${name} can't be read`, { cause });
    }
  }

  #checked(read: Read): Read {
    const { name, capacity } = this.#place;
    if (read.capacity === capacity) return read;
    throw new LockPoolCapacityError(name, read.capacity, capacity);
  }
}
