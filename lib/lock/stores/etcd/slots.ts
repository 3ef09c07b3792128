import type { LockRequest, TicketRequest } from '../../ticket.ts';

/** Longer than etcd can delay a request that it has accepted (5 s + 2 elections). */
const quarantineMs = 20_000;

/**
 * Assigns a slot to each request of this process: the lowest one that its session does not use on
 * any of the request's locks. A slot is in doubt after a write with unknown outcome: the write may
 * still arrive, so the slot stays unused for a while.
 */
export class EtcdSlots {
  readonly #now: () => number;
  readonly #places = new Map<string, Place>();
  /** The used slots by session and lock name, each with the time from which it is free again. */
  readonly #taken = new Map<string, Map<number, number>>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Returns the id of a request: the same one each time, until the request is freed. */
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

  /** Records that a write of the request may still arrive. */
  doubt(request: TicketRequest): void {
    const place = this.#places.get(request.nonce);
    if (place) place.inDoubt = true;
  }

  /** Gives the request another slot: an earlier process's ticket of this session has this one. */
  move(request: TicketRequest): void {
    this.doubt(request);
    this.free(request);
  }

  /** Frees the request's slot: its ticket is proved to be gone. */
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
