import type { Scheduled, Scheduler } from '../scheduler.ts';
import { Party } from '../scheduler.ts';
import type { Record } from './history.ts';

/** A place in the queue of a volume. The first holds the volume. */
interface QueuedTicket {
  readonly host: string;
  /** Named after the mount that it is for. */
  readonly mark: string;
}

/**
 * The store, simply: a lease for each host, a queue for each volume, and for each volume the mark of
 * the last request, by which a host knows that nobody asked for it since.
 */
export class SimulatedStore {
  readonly ttlMs: number;
  readonly #scheduler: Scheduler;
  readonly #party = new Party('store');
  readonly #record: Record;
  readonly #leases = new Map<string, { readonly id: number; readonly end: Scheduled }>();
  #opened = 0;
  readonly #queues = new Map<string, QueuedTicket[]>();
  readonly #marks = new Map<string, string>();

  constructor(options: { ttlMs: number; scheduler: Scheduler; record: Record }) {
    this.ttlMs = options.ttlMs;
    this.#scheduler = options.scheduler;
    this.#record = options.record;
  }

  /** Renews the lease of a host, or opens another one if it has expired; returns the lease's ID. */
  renew(host: string): number {
    const lease = this.#leases.get(host);
    if (lease) lease.end.run = undefined;
    else this.#opened += 1;
    const id = lease?.id ?? this.#opened;
    const end = this.#scheduler.after(this.ttlMs, this.#party, 'timer', () => this.#expire(host));
    this.#leases.set(host, { id, end });
    return id;
  }

  #expire(host: string): void {
    this.#leases.delete(host);
    for (const volume of this.#queues.keys()) this.remove(host, volume, 'its lease expired');
  }

  hasLease(host: string): boolean {
    return this.#leases.has(host);
  }

  holder(volume: string): QueuedTicket | undefined {
    return this.#queues.get(volume)?.[0];
  }

  /** Queues a ticket for a new mount. Needs a lease. */
  enqueue(host: string, volume: string, mark: string): void {
    const queue = this.#queue(volume);
    if (queue.some((ticket) => ticket.host === host)) return;
    queue.push({ host, mark });
    this.#marks.set(volume, mark);
    if (queue.length === 1) this.#granted(host, volume, 'nobody was before it');
  }

  /** Gives the volume to its host again if nobody has asked for it since; returns false otherwise. */
  attach(host: string, volume: string, mark: string): boolean {
    if (!this.hasLease(host)) return false;
    const queue = this.#queue(volume);
    if (queue[0]?.host === host && queue[0].mark === mark) return true;
    if (queue.length > 0 || this.#marks.get(volume) !== mark) return false;
    queue.push({ host, mark });
    this.#granted(host, volume, 'nobody has asked for it since');
    return true;
  }

  remove(host: string, volume: string, why: string): void {
    const queue = this.#queue(volume);
    const at = queue.findIndex((ticket) => ticket.host === host);
    if (at < 0) return;
    queue.splice(at, 1);
    if (at > 0) return;
    this.#record({ kind: 'removed', host, volume, why });
    const [next] = queue;
    if (next) this.#granted(next.host, volume, 'it is the next');
  }

  /** Makes the mark unknown, so that no host gets the volume again without a request. */
  breakMark(volume: string): void {
    this.#marks.delete(volume);
  }

  #granted(host: string, volume: string, why: string): void {
    this.#record({ kind: 'granted', host, volume, why });
  }

  #queue(volume: string): QueuedTicket[] {
    const known = this.#queues.get(volume);
    if (known) return known;
    const queue: QueuedTicket[] = [];
    this.#queues.set(volume, queue);
    return queue;
  }
}
