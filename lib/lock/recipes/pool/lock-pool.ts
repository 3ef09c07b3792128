import { blockersOf } from '../../conflicts.ts';
import { describeTickets } from '../../errors.ts';
import type { LockOptions, Locks } from '../../locks.ts';
import { namePart } from '../../name-part.ts';
import type { LockRequest } from '../../ticket.ts';
import {
  LockPoolCapacityError,
  LockPoolClaimedError,
  LockPoolExhaustedError,
  LockPoolInUseError,
  LockPoolNotAllocatedError,
} from './lock-pool-errors.ts';
import type { Standing } from './lock-pool-leases.ts';
import {
  allOwners,
  leaseKind,
  leaseRequest,
  leasesIn,
  leasesOf,
  NumberLease,
} from './lock-pool-leases.ts';
import type { PoolConflict, PoolState } from './lock-pool-state.ts';
import { conflictsIn, formatPoolState, lowestFree, parsePoolState } from './lock-pool-state.ts';
import type {
  AllocateOptions,
  HeldNumber,
  LeasedNumber,
  NumberedLock,
  PoolChangeOptions,
} from './numbered-lock.ts';

/** The default wait of a change. A change takes milliseconds, so a longer wait shows a fault. */
const defaultTimeoutMs = 10_000;

export interface LockPoolOptions {
  readonly name: string;
  /** The number of locks, numbered from 0. The same for all users of the pool. */
  readonly capacity: number;
}

interface Read extends Standing {
  /** 0 if there is no record yet. */
  readonly revision: number;
}

/**
 * Numbered locks for objects (containers, volumes) that store the number of their lock. A number is
 * allocated to an owner, the name of its object, until it is freed. Allocations are shared by all
 * processes and hosts, and durable unless they are leased. They are independent of locking: a process that does not yet
 * know of an object's removal may still lock its number.
 *
 * Each change is one guarded write of one record, so a pool can't hold more numbers than fit in a
 * record of its store (some ten thousand on etcd). Changes also reject as `Locks.lock` and
 * `Lock.guard`; after StoreUnavailableError, `allocations` shows whether the change was made. All
 * but `retrieve` and `renumber` reject LockPoolCapacityError if the pool has another capacity.
 */
export class LockPool {
  readonly name: string;
  readonly capacity: number;
  readonly #locks: Locks;
  /** The name of the pool's record, and of the lock that guards it. */
  readonly #key: string;
  /** The name of the pool in the names of locks. */
  readonly #part: string;

  /** Throws RangeError if the capacity is below 1. */
  constructor(locks: Locks, { name, capacity }: LockPoolOptions) {
    if (!Number.isSafeInteger(capacity) || capacity < 1) {
      throw new RangeError(`a lock pool needs a capacity of at least 1, not ${capacity}`);
    }
    this.#locks = locks;
    this.#part = namePart(name);
    this.#key = `pool/${this.#part}`;
    this.name = name;
    this.capacity = capacity;
  }

  /** Allocates the lowest free number. Rejects LockPoolExhaustedError. */
  allocate(owner: string, options: AllocateOptions & { leased: true }): Promise<LeasedNumber>;
  allocate(owner: string, options?: AllocateOptions): Promise<NumberedLock>;
  allocate(owner: string, options: AllocateOptions = {}): Promise<NumberedLock> {
    return this.#allocate('Allocate', owner, options, (state) => {
      const free = lowestFree({ ...state, owners: allOwners(state) });
      if (free !== undefined) return free;
      throw new LockPoolExhaustedError(this.name, this.capacity, 1);
    });
  }

  /** Allocates the given number. Rejects LockPoolClaimedError, and RangeError as `retrieve`. */
  claim(
    id: number,
    owner: string,
    options: AllocateOptions & { leased: true },
  ): Promise<LeasedNumber>;
  claim(id: number, owner: string, options?: AllocateOptions): Promise<NumberedLock>;
  async claim(id: number, owner: string, options: AllocateOptions = {}): Promise<NumberedLock> {
    this.retrieve(id);
    return this.#allocate('Claim', owner, options, (state) => {
      const other = allOwners(state).get(id);
      if (other === undefined) return id;
      throw new LockPoolClaimedError(this.name, id, other);
    });
  }

  /** Returns the lock of a number, allocated or not. Throws RangeError for a missing number. */
  retrieve(id: number): NumberedLock {
    if (!Number.isInteger(id) || id < 0 || id >= this.capacity) {
      throw new RangeError(
        `lock pool ${this.name} has the numbers 0 to ${this.capacity - 1}, not ${id}`,
      );
    }
    const request: LockRequest = { name: `${this.#key}/${id}`, mode: 'exclusive' };
    return {
      id,
      request,
      lock: (options) => this.#locks.lock([request], options),
      tryLock: (options) => this.#locks.tryLock([request], options),
    };
  }

  /**
   * Frees a number, also while its lock is held; the holder keeps the lock. The signal of a lease aborts.
   * Rejects LockPoolNotAllocatedError, and RangeError as `retrieve`.
   */
  async free(id: number, options: PoolChangeOptions = {}): Promise<void> {
    this.retrieve(id);
    await this.#change({ reason: 'Free', detail: `number ${id}`, ...options }, async (state) => {
      const owners = new Map(state.owners);
      const lease = state.leases.get(id);
      if (!owners.delete(id) && !lease) throw new LockPoolNotAllocatedError(this.name, id);
      if (lease) await this.#locks.breakLock(lease);
      return { owners, answer: undefined };
    });
  }

  /** Frees all numbers, whoever owns them. */
  async freeAll(options: PoolChangeOptions = {}): Promise<void> {
    await this.#change({ reason: 'FreeAll', ...options }, async ({ leases }) => {
      for (const ticket of leases.values()) await this.#locks.breakLock(ticket);
      return { owners: new Map(), answer: undefined };
    });
  }

  /**
   * Frees all numbers and allocates one to each object, 0 to the first, in one step; the pool then
   * has the capacity of this LockPool. Stop all other users of the pool before, because their
   * numbers get new objects. Rejects LockPoolInUseError while a numbered lock is held or a number is
   * leased, and LockPoolExhaustedError.
   */
  async renumber(
    objects: readonly string[],
    options: PoolChangeOptions = {},
  ): Promise<ReadonlyMap<string, number>> {
    const numbers = new Map([...new Set(objects)].map((object, id) => [object, id]));
    if (numbers.size > this.capacity) {
      throw new LockPoolExhaustedError(this.name, this.capacity, numbers.size);
    }
    const owners = new Map([...numbers].map(([object, id]) => [id, object]));
    const renumbered = async ({ leases }: Standing) => {
      const leased = [...leases].map(([id, ticket]) => ({ id, ticket }));
      const held = [...leased, ...(await this.#held())];
      if (held.length > 0) throw new LockPoolInUseError(this.name, held.map(describeHeld));
      return { owners, answer: numbers };
    };
    return this.#change({ reason: 'Renumber', ...options }, renumbered, { anyCapacity: true });
  }

  /** Returns the count of free numbers. */
  async available(): Promise<number> {
    return this.capacity - (await this.allocations()).size;
  }

  /** Reads the owner of each allocated number, by number. */
  async allocations(): Promise<ReadonlyMap<number, string>> {
    return allOwners(this.#checked(await this.#read()));
  }

  /** Reads the numbers whose locks are held, allocated or not, by number. */
  async held(): Promise<readonly HeldNumber[]> {
    this.#checked(await this.#read());
    return this.#held();
  }

  /**
   * Returns the conflicts among the numbers that objects use, given by object: a number that many
   * use (they wait for each other, or for themselves), or one allocated to another or to nobody. By
   * number; empty if there is none. `renumber` removes all conflicts.
   */
  async conflicts(uses: ReadonlyMap<string, number>): Promise<readonly PoolConflict[]> {
    const state = this.#checked(await this.#read());
    return conflictsIn({ ...state, owners: allOwners(state) }, uses);
  }

  /** Allocates the number that `choose` returns. */
  async #allocate(
    reason: string,
    owner: string,
    { leased = false, ...options }: AllocateOptions,
    choose: (state: Standing) => number,
  ): Promise<NumberedLock | LeasedNumber> {
    let lease: NumberLease | undefined;
    try {
      const change = { reason, detail: owner, ...options };
      const id = await this.#change(change, async (state) => {
        const chosen = choose(state);
        if (!leased) return { owners: withOwner(state, chosen, owner), answer: chosen };
        lease = await this.#lease(chosen, owner, options);
        return { owners: state.owners, answer: chosen };
      });
      return { ...this.retrieve(id), ...(lease && { lease }) };
    } catch (error) {
      // The change is refused if the pool's lock was lost: another may have the number.
      await lease?.end();
      throw error;
    }
  }

  async #lease(id: number, owner: string, options: PoolChangeOptions): Promise<NumberLease> {
    const lock = await this.#locks.lock(leaseRequest(this.#part, id), {
      ...{ kind: leaseKind(owner), reason: 'Lease', detail: owner },
      ...{ timeoutMs: defaultTimeoutMs, ...options },
    });
    return new NumberLease(lock);
  }

  async #held(): Promise<HeldNumber[]> {
    const tickets = await this.#locks.list();
    const prefix = `${this.#key}/`;
    const held = tickets.flatMap((ticket) => {
      const own = ticket.locks.filter(({ name }) => name.startsWith(prefix));
      if (own.length === 0 || blockersOf(ticket, tickets).length > 0) return [];
      return own.map(({ name }) => ({ id: Number(name.slice(prefix.length)), ticket }));
    });
    return held.sort((a, b) => a.id - b.id);
  }

  /** Writes the state that `next` returns, under the pool's lock. */
  async #change<T>(
    options: LockOptions,
    next: (state: Standing) => Change<T> | Promise<Change<T>>,
    { anyCapacity = false } = {},
  ): Promise<T> {
    const request: LockRequest = { name: this.#key, mode: 'exclusive' };
    const limited = { timeoutMs: defaultTimeoutMs, ...options };
    await using lock = await this.#locks.lock([request], limited);
    const read = await this.#read();
    const { owners, answer } = await next(anyCapacity ? read : this.#checked(read));
    const value = formatPoolState({ capacity: this.capacity, owners }, lock.token);
    await lock.guard([{ key: this.#key, value, expectedRevision: read.revision }], {
      unlock: true,
    });
    return answer;
  }

  async #read(): Promise<Read> {
    const [record, tickets] = await Promise.all([
      this.#locks.record(this.#key),
      this.#locks.inspect(leasesOf(this.#part)),
    ]);
    const leases = leasesIn(this.#part, tickets);
    if (!record) return { revision: 0, capacity: this.capacity, owners: new Map(), leases };
    try {
      return { revision: record.revision, ...parsePoolState(record.value), leases };
    } catch (cause) {
      throw new Error(`the record of lock pool ${this.name} can't be read`, { cause });
    }
  }

  #checked(read: Read): Read {
    if (read.capacity === this.capacity) return read;
    throw new LockPoolCapacityError(this.name, read.capacity, this.capacity);
  }
}

interface Change<T> {
  readonly owners: ReadonlyMap<number, string>;
  readonly answer: T;
}

function withOwner({ owners }: PoolState, id: number, owner: string): Map<number, string> {
  return new Map([...owners, [id, owner]]);
}

function describeHeld({ id, ticket }: HeldNumber): string {
  return `number ${id} by ${describeTickets([ticket])}`;
}
