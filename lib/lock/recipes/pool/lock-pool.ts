import { checkOptions } from '../../check-options.ts';
import { blockersOf } from '../../conflicts.ts';
import type { Lock } from '../../lock.ts';
import type { Locks } from '../../locks.ts';
import { namePart } from '../../name-part.ts';
import type { LockRequest } from '../../ticket.ts';
import {
  LockPoolClaimedError,
  LockPoolExhaustedError,
  LockPoolInUseError,
  LockPoolLeasedError,
  LockPoolNotAllocatedError,
} from './lock-pool-errors.ts';
import type { PoolLeases, Standing } from './lock-pool-leases.ts';
import { allOwners, leaseKind, leaseRequest, NumberLease } from './lock-pool-leases.ts';
import { defaultTimeoutMs, PoolRecord } from './lock-pool-record.ts';
import type { PoolConflict, PoolState } from './lock-pool-state.ts';
import { conflictsIn, lowestFree } from './lock-pool-state.ts';
import type {
  AllocateOptions,
  FreeOptions,
  HeldNumber,
  LeasedNumber,
  NumberedLock,
  PoolChangeOptions,
} from './numbered-lock.ts';

const changeOptions = { signal: 'an AbortSignal', timeoutMs: 'a number' } as const;
const allocateOptions = { ...changeOptions, leased: 'true or false' } as const;
const freeOptions = { ...changeOptions, force: 'true or false' } as const;

export interface LockPoolOptions {
  readonly name: string;
  /** The number of locks, numbered from 0. The same for all users of the pool. */
  readonly capacity: number;
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
  readonly #record: PoolRecord;
  /** The name of the pool in the names of locks. */
  readonly #part: string;

  /** Throws RangeError if the capacity is below 1. */
  constructor(locks: Locks, options: LockPoolOptions) {
    checkOptions('a lock pool', options, { name: 'a text', capacity: 'a number' });
    const { name, capacity } = options;
    if (!Number.isSafeInteger(capacity) || capacity < 1) {
      throw new RangeError(`a lock pool needs a capacity of at least 1, not ${capacity}`);
    }
    this.#locks = locks;
    this.#part = namePart(name);
    this.#record = new PoolRecord(locks, { name, capacity, part: this.#part });
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
    const request: LockRequest = { name: `${this.#record.key}/${id}`, mode: 'exclusive' };
    return {
      id,
      request,
      lock: (options) => this.#locks.lock([request], options),
      tryLock: (options) => this.#locks.tryLock([request], options),
    };
  }

  /**
   * Frees a number, also while its lock is held; the holder keeps the lock. Rejects LockPoolNotAllocatedError,
   * LockPoolLeasedError if the number is leased and `force` is not given, and RangeError as `retrieve`.
   */
  async free(id: number, given: FreeOptions = {}): Promise<void> {
    checkOptions('the freeing of a number', given, freeOptions);
    const { force = false, ...options } = given;
    this.retrieve(id);
    await this.#record.change(
      { reason: 'Free', detail: `number ${id}`, ...options },
      async (state) => {
        const { owners, leases } = state;
        const lease = leases.get(id);
        if (!owners.has(id) && !lease) throw new LockPoolNotAllocatedError(this.name, id);
        if (lease) await this.#breakLeases(new Map([[id, lease]]), force);
        const others = [...owners].filter(([other]) => other !== id);
        const hasLeases = [...leases.keys()].some((other) => other !== id);
        return { owners: new Map(others), hasLeases, answer: undefined };
      },
    );
  }

  /** Frees all numbers, whoever owns them. Rejects LockPoolLeasedError as `free`. */
  async freeAll(given: FreeOptions = {}): Promise<void> {
    checkOptions('the freeing of a number', given, freeOptions);
    const { force = false, ...options } = given;
    await this.#record.change({ reason: 'FreeAll', ...options }, async ({ leases }) => {
      await this.#breakLeases(leases, force);
      return { owners: new Map(), hasLeases: false, answer: undefined };
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
      const held = [...leasedNumbers(leases), ...(await this.#held())];
      if (held.length > 0) throw new LockPoolInUseError(this.name, held);
      return { owners, hasLeases: false, answer: numbers };
    };
    return this.#record.change({ reason: 'Renumber', ...options }, renumbered, {
      anyCapacity: true,
    });
  }

  /** Returns the count of free numbers. */
  async available(): Promise<number> {
    return this.capacity - (await this.allocations()).size;
  }

  /** Reads the owner of each allocated number, by number. */
  async allocations(): Promise<ReadonlyMap<number, string>> {
    return allOwners(await this.#record.read());
  }

  /** Reads the numbers whose locks are held, allocated or not, by number. */
  async held(): Promise<readonly HeldNumber[]> {
    await this.#record.read();
    return this.#held();
  }

  /**
   * Returns the conflicts among the numbers that objects use, given by object: a number that many
   * use (they wait for each other, or for themselves), or one allocated to another or to nobody. By
   * number; empty if there is none. `renumber` removes all conflicts.
   */
  async conflicts(uses: ReadonlyMap<string, number>): Promise<readonly PoolConflict[]> {
    const state = await this.#record.read();
    return conflictsIn({ ...state, owners: allOwners(state) }, uses);
  }

  /** Allocates the number that `choose` returns. */
  async #allocate(
    reason: string,
    owner: string,
    given: AllocateOptions,
    choose: (state: Standing) => number,
  ): Promise<NumberedLock | LeasedNumber> {
    checkOptions('the allocation of a number', given, allocateOptions);
    const { leased = false, ...options } = given;
    let lease: NumberLease | undefined;
    try {
      const change = { reason, detail: owner, ...options };
      const id = await this.#record.change(change, async (state, held) => {
        const chosen = choose(state);
        if (leased) lease = await this.#lease(chosen, owner, options, held);
        const owners = leased ? state.owners : withOwner(state, chosen, owner);
        return { owners, hasLeases: leased || state.leases.size > 0, answer: chosen };
      });
      return { ...this.retrieve(id), ...(lease && { lease }) };
    } catch (error) {
      // The change is refused if the pool's lock was lost: another may have the number.
      await lease?.end();
      throw error;
    }
  }

  /** Leases a number, as long as the pool's lock is held: without it, another may have chosen the same number. */
  async #lease(
    id: number,
    owner: string,
    { signal, timeoutMs = defaultTimeoutMs }: PoolChangeOptions,
    poolLock: Lock,
  ): Promise<NumberLease> {
    const signals = [poolLock.signal, ...(signal ? [signal] : [])];
    const described = { kind: leaseKind(owner), reason: 'Lease', detail: owner };
    const limits = { timeoutMs, signal: AbortSignal.any(signals) };
    try {
      const request = leaseRequest(this.#part, id);
      return new NumberLease(await this.#locks.lock(request, { ...described, ...limits }));
    } catch (error) {
      if (!signal?.aborted) poolLock.throwIfLost();
      throw error;
    }
  }

  /** Breaks leases, and removes the requests that wait for them. */
  async #breakLeases(leases: PoolLeases, force: boolean): Promise<void> {
    if (leases.size > 0 && !force) {
      throw new LockPoolLeasedError(this.name, leasedNumbers(leases));
    }
    // The first ticket of a number goes last: without it, the number is granted to the next.
    const tickets = [...leases.values()].flat().reverse();
    for (const ticket of tickets) await this.#locks.breakLock(ticket);
  }

  async #held(): Promise<HeldNumber[]> {
    const tickets = await this.#locks.list();
    const prefix = `${this.#record.key}/`;
    const held = tickets.flatMap((ticket) => {
      const own = ticket.locks.filter(({ name }) => name.startsWith(prefix));
      if (own.length === 0 || blockersOf(ticket, tickets).length > 0) return [];
      return own.map(({ name }) => ({ id: Number(name.slice(prefix.length)), ticket }));
    });
    return held.sort((a, b) => a.id - b.id);
  }
}

function withOwner({ owners }: PoolState, id: number, owner: string): Map<number, string> {
  return new Map([...owners, [id, owner]]);
}

function leasedNumbers(leases: PoolLeases): HeldNumber[] {
  return [...leases].map(([id, [ticket]]) => ({ id, ticket }));
}
