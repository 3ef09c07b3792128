import { describeTickets } from '../../errors.ts';
import type { Lock } from '../../lock.ts';
import type { LockOptions, Locks, TryLockOptions } from '../../locks.ts';
import { namePart } from '../../name-part.ts';
import type { LockRequest, Ticket } from '../../ticket.ts';
import { blockersOf } from '../../ticket.ts';
import {
  LockPoolCapacityError,
  LockPoolClaimedError,
  LockPoolExhaustedError,
  LockPoolInUseError,
  LockPoolNotAllocatedError,
} from './lock-pool-errors.ts';
import type { PoolConflict, PoolState } from './lock-pool-state.ts';
import { conflictsIn, formatPoolState, lowestFree, parsePoolState } from './lock-pool-state.ts';

/** A change takes milliseconds: when it has to wait longer, something is wrong. */
const defaultTimeoutMs = 10_000;

export interface LockPoolOptions {
  readonly name: string;
  /** How many numbers there are, from 0 on; exactly. The same for all that share the pool. */
  readonly capacity: number;
}

/** How long a change may wait for others that are being made; 10 s when not given. */
export type PoolChangeOptions = Pick<LockOptions, 'signal' | 'timeoutMs'>;

/** One lock of a pool. It can be used whether its number is allocated or not. */
export interface NumberedLock {
  readonly id: number;
  /**
   * To take several in one step, with `Locks.lock`, so that nobody waits crosswise. Two objects
   * that share a number then ask for one lock, and not for ever for each other's.
   */
  readonly request: LockRequest;
  lock(options: LockOptions): Promise<Lock>;
  tryLock(options: TryLockOptions): Promise<Lock | undefined>;
}

/** A number whose lock is held now. */
export interface HeldNumber {
  readonly id: number;
  readonly ticket: Ticket;
}

interface Read extends PoolState {
  /** 0: there is no record yet. */
  readonly revision: number;
}

/**
 * Numbered locks for objects (containers, volumes) that keep the number of their lock with them.
 * A number is allocated to an owner, the name of its object, until it is freed; that is durable and
 * shared by all processes and hosts. Locking is apart from it: an object that has been removed, and
 * whose number is free again, may still be locked by whoever has yet to learn of that.
 *
 * Every change is one guarded write of one record, so a pool of more numbers than fit in a record
 * of its store (some ten thousand on etcd) can't be filled. Changes also reject as `Locks.lock` and
 * `Lock.guard` do; after StoreUnavailableError `allocations` tells whether the change was made. All
 * but `retrieve` and `renumber` reject LockPoolCapacityError when the pool has another capacity.
 */
export class LockPool {
  readonly name: string;
  readonly capacity: number;
  readonly #locks: Locks;
  /** Of the record, and of the lock under which it changes. */
  readonly #key: string;

  /** Throws RangeError for a capacity below 1. */
  constructor(locks: Locks, { name, capacity }: LockPoolOptions) {
    if (!Number.isSafeInteger(capacity) || capacity < 1) {
      throw new RangeError(`a lock pool needs a capacity of at least 1, not ${capacity}`);
    }
    this.#locks = locks;
    this.#key = `pool/${namePart(name)}`;
    this.name = name;
    this.capacity = capacity;
  }

  /** Allocates the lowest number that is free. Rejects LockPoolExhaustedError. */
  async allocate(owner: string, options: PoolChangeOptions = {}): Promise<NumberedLock> {
    const id = await this.#change({ reason: 'Allocate', detail: owner, ...options }, (state) => {
      const free = lowestFree(state);
      if (free === undefined) throw new LockPoolExhaustedError(this.name, this.capacity, 1);
      return { owners: withOwner(state, free, owner), answer: free };
    });
    return this.retrieve(id);
  }

  /** Allocates this very number. Rejects LockPoolClaimedError, and RangeError as `retrieve`. */
  async claim(id: number, owner: string, options: PoolChangeOptions = {}): Promise<NumberedLock> {
    const lock = this.retrieve(id);
    await this.#change({ reason: 'Claim', detail: owner, ...options }, (state) => {
      const other = state.owners.get(id);
      if (other !== undefined) throw new LockPoolClaimedError(this.name, id, other);
      return { owners: withOwner(state, id, owner), answer: undefined };
    });
    return lock;
  }

  /** The lock of a number, allocated or not. Throws RangeError for one that the pool has not. */
  retrieve(id: number): NumberedLock {
    if (!Number.isInteger(id) || id < 0 || id >= this.capacity) {
      throw new RangeError(
        `lock pool ${this.name} has the numbers 0 to ${this.capacity - 1}, and not ${id}`,
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
   * Gives a number back, also while its lock is held: that goes on.
   * Rejects LockPoolNotAllocatedError, and RangeError as `retrieve`.
   */
  async free(id: number, options: PoolChangeOptions = {}): Promise<void> {
    this.retrieve(id);
    await this.#change({ reason: 'Free', detail: `number ${id}`, ...options }, (state) => {
      const owners = new Map(state.owners);
      if (!owners.delete(id)) throw new LockPoolNotAllocatedError(this.name, id);
      return { owners, answer: undefined };
    });
  }

  /** Gives all numbers back, whoever has them. */
  async freeAll(options: PoolChangeOptions = {}): Promise<void> {
    await this.#change({ reason: 'FreeAll', ...options }, () => ({
      owners: new Map(),
      answer: undefined,
    }));
  }

  /**
   * Frees all numbers and allocates one to each object, 0 to the first, in one step; the pool has
   * this object's capacity from then on. Whoever shares the pool has to be stopped before, because
   * the numbers that he knows mean other objects after; as far as that shows, it is refused:
   * rejects LockPoolInUseError while a numbered lock is held. Rejects LockPoolExhaustedError.
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
    const renumbered = async () => {
      const held = await this.#held();
      if (held.length > 0) throw new LockPoolInUseError(this.name, held.map(describeHeld));
      return { owners, answer: numbers };
    };
    return this.#change({ reason: 'Renumber', ...options }, renumbered, { anyCapacity: true });
  }

  /** How many numbers are free. */
  async available(): Promise<number> {
    return this.capacity - (await this.allocations()).size;
  }

  /** The owner of each number that is allocated, by number, as the store has it now. */
  async allocations(): Promise<ReadonlyMap<number, string>> {
    return this.#checked(await this.#read()).owners;
  }

  /** The numbers whose locks are held, allocated or not, by number, as the store has it now. */
  async held(): Promise<readonly HeldNumber[]> {
    this.#checked(await this.#read());
    return this.#held();
  }

  /**
   * What is wrong with the numbers that objects use, given by object: one that several use (they
   * wait for each other, or for themselves), or that is allocated to another or to nobody. By
   * number; empty when all is well. `renumber` mends it.
   */
  async conflicts(uses: ReadonlyMap<string, number>): Promise<readonly PoolConflict[]> {
    return conflictsIn(this.#checked(await this.#read()), uses);
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

  /** Writes what `next` makes of the state, under the pool's lock. */
  async #change<T>(
    options: LockOptions,
    next: (state: PoolState) => Change<T> | Promise<Change<T>>,
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
    const record = await this.#locks.record(this.#key);
    if (!record) return { revision: 0, capacity: this.capacity, owners: new Map() };
    try {
      return { revision: record.revision, ...parsePoolState(record.value) };
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
