import { describeTickets, firstOf, LockError } from '../../errors.ts';
import type { HeldNumber } from './numbered-lock.ts';

/** A refusal of a LockPool. Nothing was changed. */
export abstract class LockPoolError extends LockError {
  readonly code = 'refused';
  readonly pool: string;
  constructor(pool: string, message: string) {
    super(`lock pool ${pool}: ${message}`);
    this.pool = pool;
  }
}

/** The pool has fewer free numbers than the request needs. */
export class LockPoolExhaustedError extends LockPoolError {
  override readonly name = 'LockPoolExhaustedError';
  readonly capacity: number;
  constructor(pool: string, capacity: number, wanted: number) {
    const want = wanted === 1 ? 'one more is wanted' : `${wanted} are wanted`;
    super(
      pool,
      `it has ${capacity} numbers, and ${want}; free some, or renumber the pool with a larger capacity`,
    );
    this.capacity = capacity;
  }
}

/** The claimed number is allocated to another. */
export class LockPoolClaimedError extends LockPoolError {
  override readonly name = 'LockPoolClaimedError';
  readonly id: number;
  readonly owner: string;
  constructor(pool: string, id: number, owner: string) {
    super(pool, `number ${id} is allocated to ${owner}`);
    this.id = id;
    this.owner = owner;
  }
}

/** The number to free is not allocated. */
export class LockPoolNotAllocatedError extends LockPoolError {
  override readonly name = 'LockPoolNotAllocatedError';
  readonly id: number;
  constructor(pool: string, id: number) {
    super(pool, `number ${id} is not allocated`);
    this.id = id;
  }
}

/** Numbers can't be freed without force while they are leased: their owners would learn of it too late. */
export class LockPoolLeasedError extends LockPoolError {
  override readonly name = 'LockPoolLeasedError';
  constructor(pool: string, leased: readonly HeldNumber[]) {
    super(
      pool,
      `leased numbers can't be freed without force: ${firstOf(leased, describeHeld)}; ` +
        'end the lease or its process there, or free with force',
    );
  }
}

/** The pool has another capacity than this process is configured with. */
export class LockPoolCapacityError extends LockPoolError {
  override readonly name = 'LockPoolCapacityError';
  readonly actual: number;
  readonly configured: number;
  constructor(pool: string, actual: number, configured: number) {
    super(
      pool,
      `it has ${actual} numbers, not ${configured} as configured here; ` +
        `configure ${actual}, or renumber the pool to change it`,
    );
    this.actual = actual;
    this.configured = configured;
  }
}

/** A pool can't be renumbered while its locks are held: their numbers would get new objects. */
export class LockPoolInUseError extends LockPoolError {
  override readonly name = 'LockPoolInUseError';
  constructor(pool: string, held: readonly HeldNumber[]) {
    super(pool, `it can't be renumbered while its locks are held: ${firstOf(held, describeHeld)}`);
  }
}

function describeHeld({ id, ticket }: HeldNumber): string {
  return `number ${id} by ${describeTickets([ticket])}`;
}
