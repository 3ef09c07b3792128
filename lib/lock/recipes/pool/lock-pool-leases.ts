import type { Lock } from '../../lock.ts';
import type { LockRequest, Ticket } from '../../ticket.ts';
import type { PoolState } from './lock-pool-state.ts';

/** The kind of the ticket that leases a number, before the owner of the number. */
const kindPrefix = 'pool number of ';

/**
 * The tickets on the numbers of a pool, by number. The first ticket of a number leases it. Another waits for it only if
 * it is of a request whose lock on the pool was lost; it is refused when the pool's record is written.
 */
export type PoolLeases = ReadonlyMap<number, readonly [Ticket, ...Ticket[]]>;

/**
 * A leased number is a lock: while its ticket stands, the number is allocated. The ticket also shares one lock with
 * all leases of the pool, so that these are read together.
 */
export function leaseRequest(pool: string, id: number): LockRequest[] {
  return [
    { name: `${leasesOf(pool)}/${id}`, mode: 'exclusive' },
    { name: leasesOf(pool), mode: 'shared' },
  ];
}

/** Returns the name of the lock that all leases of a pool share. `pool`: its name in the names of locks. */
export function leasesOf(pool: string): string {
  return `pool-leases/${pool}`;
}

/** Returns the kind of the ticket that leases a number for `owner`. */
export function leaseKind(owner: string): string {
  return kindPrefix + owner;
}

function leaseOwner({ kind }: Ticket): string {
  return kind.slice(kindPrefix.length);
}

/** Finds the leases of a pool among the tickets on the lock that they share, which are in token order. */
export function leasesIn(pool: string, tickets: readonly Ticket[]): PoolLeases {
  const prefix = `${leasesOf(pool)}/`;
  const found = new Map<number, [Ticket, ...Ticket[]]>();
  for (const ticket of tickets) {
    for (const { name } of ticket.locks) {
      if (!name.startsWith(prefix)) continue;
      const id = Number(name.slice(prefix.length));
      const earlier = found.get(id);
      if (earlier) earlier.push(ticket);
      else found.set(id, [ticket]);
    }
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}

/** The state of a pool with its leases. */
export interface Standing extends PoolState {
  readonly leases: PoolLeases;
}

/** Returns the owners of all numbers, durable or leased, by number. */
export function allOwners({ owners, leases }: Standing): Map<number, string> {
  const leased = [...leases].map(([id, [ticket]]) => [id, leaseOwner(ticket)] as const);
  return new Map([...owners, ...leased].sort(([a], [b]) => a - b));
}

/** The lease of a number: it is allocated until it is freed, or this process or its host has ended. */
export class NumberLease implements AsyncDisposable {
  readonly #lock: Lock;

  constructor(lock: Lock) {
    this.#lock = lock;
  }

  /**
   * Aborts when the number is no longer this owner's: at its end, or before it can be another's. See `Lock.signal`. If
   * somebody frees the number with `force` or breaks its lock, another may have it before the signal aborts.
   */
  get signal(): AbortSignal {
    return this.#lock.signal;
  }

  /** Throws LockLostError when the number may be another's. */
  throwIfLost(): void {
    this.#lock.throwIfLost();
  }

  /** Asks the store whether the number is still this owner's; rejects LockLostError if not. */
  confirm(): Promise<void> {
    return this.#lock.confirm();
  }

  /** Frees the number. Idempotent; never frees that of a later owner. */
  end(): Promise<void> {
    return this.#lock.unlock();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }
}
