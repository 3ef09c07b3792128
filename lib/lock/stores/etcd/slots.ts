import type { LockRequest, TicketRequest } from '../../ticket.ts';

/** Longer than etcd can delay a request that it has already taken in (5 s + 2 elections). */
const quarantineMs = 20_000;

/**
 * Gives each request of this process a place: the lowest slot that its session has not in use, or
 * in doubt, on any of the request's locks. A place is in doubt after a write whose outcome was
 * never heard: that write may still arrive, so the place rests for a while.
 */
export class EtcdSlots {
  readonly #now: () => number;
  readonly #places = new Map<string, Place>();
  /** By session and lock name: the slots taken; the value is when it is free again. */
  readonly #taken = new Map<string, Map<number, number>>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The place of a request: the same each time it is asked, until it is freed. */
  idFor(request: TicketRequest): string {
    const known = this.#places.get(request.nonce);
    if (known) return `${request.session}-${known.slot}`;
    const tables = request.locks.map((lock) => this.#table(request.session, lock));
    let slot = 0;
    while (tables.some((table) => (table.get(slot) ?? 0) > this.#now())) slot += 1;
    for (const table of tables) table.set(slot, Number.POSITIVE_INFINITY);
    this.#places.set(request.nonce, { slot, inDoubt: false });
    return `${request.session}-${slot}`;
  }

  /** A write to the request's place may still arrive after we have moved on. */
  doubt(request: TicketRequest): void {
    const place = this.#places.get(request.nonce);
    if (place) place.inDoubt = true;
  }

  /** Somebody of an earlier life of this session is in the request's place: give it another. */
  move(request: TicketRequest): void {
    this.doubt(request);
    this.free(request);
  }

  /** The request's ticket is gone for certain. */
  free(request: TicketRequest): void {
    const place = this.#places.get(request.nonce);
    if (!place) return;
    this.#places.delete(request.nonce);
    for (const lock of request.locks) {
      const table = this.#table(request.session, lock);
      if (place.inDoubt) table.set(place.slot, this.#now() + quarantineMs);
      else table.delete(place.slot);
      if (table.size === 0) this.#taken.delete(tableKey(request.session, lock));
    }
  }

  #table(session: string, lock: LockRequest): Map<number, number> {
    const key = tableKey(session, lock);
    const table = this.#taken.get(key) ?? new Map<number, number>();
    this.#taken.set(key, table);
    return table;
  }
}

interface Place {
  readonly slot: number;
  inDoubt: boolean;
}

function tableKey(session: string, lock: LockRequest): string {
  return `${session} ${lock.name}`;
}
