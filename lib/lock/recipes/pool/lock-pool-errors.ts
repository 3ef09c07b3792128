import { LockError } from '../../errors.ts';

/** Every refusal of a LockPool. Nothing was changed. */
export abstract class LockPoolError extends LockError {
  readonly code = 'refused';
  readonly pool: string;
  constructor(pool: string, message: string) {
    super(`lock pool ${pool}: ${message}`);
    this.pool = pool;
  }
}

/** More numbers were asked for than there are. */
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

/** A number that was claimed belongs to somebody. */
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

/** A number that was to be freed is free. */
export class LockPoolNotAllocatedError extends LockPoolError {
  override readonly name = 'LockPoolNotAllocatedError';
  readonly id: number;
  constructor(pool: string, id: number) {
    super(pool, `number ${id} is not allocated`);
    this.id = id;
  }
}

/** The pool was made with another capacity than this process is configured with. */
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

/** A pool can't be renumbered while its locks are held: they would mean other objects then. */
export class LockPoolInUseError extends LockPoolError {
  override readonly name = 'LockPoolInUseError';
  /** `number 3 by host n2 (…)` */
  constructor(pool: string, held: readonly string[]) {
    super(pool, `it can't be renumbered while its locks are held: ${held.join('; ')}`);
  }
}
