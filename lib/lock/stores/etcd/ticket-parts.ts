import type { ICompare, IKeyValue, IRangeRequest, IRequestOp } from '../../../etcd/client.ts';
import { prefixRange } from '../../../etcd/ranges.ts';
import { requireSamePermits } from '../../conflicts.ts';
import { isPermanent } from '../../permanent-session.ts';
import type { Ticket, TicketRequest } from '../../ticket.ts';
import { recordsOf } from '../../ticket.ts';
import type { Granted } from '../ticket-store.ts';
import type { EtcdKeys } from './keys.ts';
import { ticketValue } from './keys.ts';
import { isAbsent, notAfter } from './txn.ts';

/** The parts of the Txns that write a ticket (queue.ts). `keys`: the request's own keys, one per lock. */
export class TicketParts {
  readonly #keys: EtcdKeys;

  constructor(keys: EtcdKeys) {
    this.#keys = keys;
  }

  /**
   * Compares that nothing is in the way: no conflicting ticket, no closed gate (in the same range),
   * and no ticket in the request's own place (which an exclusive lock's range includes). A permit was found to be free
   * at the revision `seenAt`, if it is given: then nothing may have been written since.
   */
  isFree(request: TicketRequest, keys: readonly Buffer[], seenAt?: number): ICompare[] {
    return request.locks.flatMap((lock, index) => {
      const own = keys[index];
      const range = this.#keys.conflictRange(lock);
      const isCounted = lock.mode === 'permit' && seenAt !== undefined;
      const conflicts = isCounted ? notAfter(range, seenAt) : isAbsent(range);
      const isPartOfRange = lock.mode !== 'shared' && !isCounted;
      return isPartOfRange || !own ? [conflicts] : [conflicts, isAbsent(own)];
    });
  }

  /** Returns the tickets that block a request, of what `nearest` has found. */
  blockers({ locks }: TicketRequest, found: readonly IKeyValue[]): Ticket[] {
    return this.#keys.parseTickets(this.#keys.inTheWay(locks, found));
  }

  nearest({ locks }: TicketRequest, token?: number): IRangeRequest[] {
    return locks.flatMap((lock) => this.#keys.nearest(lock, token));
  }

  otherPermits({ locks }: TicketRequest): { key: Buffer; range_end: Buffer }[] {
    return locks.flatMap((lock) => this.#keys.otherPermits(lock));
  }

  /** Throws PermitsDifferError if a found ticket says another number of permits than the request. */
  requirePermits({ locks }: TicketRequest, found: readonly IKeyValue[]): void {
    requireSamePermits(locks, this.#keys.parseTickets(found));
  }

  reads({ read, readBelow }: TicketRequest): IRequestOp[] {
    const ranges = [
      ...(read === undefined ? [] : [{ key: this.#keys.recordKey(read) }]),
      ...(readBelow === undefined ? [] : [prefixRange(`${this.#keys.recordsPrefix}${readBelow}`)]),
    ];
    return ranges.map((range) => ({ request_range: range }));
  }

  /** `found` has the records that the request reads, as far as they exist. */
  granted(
    { read, readBelow }: TicketRequest,
    ticket: Ticket,
    found: readonly IKeyValue[],
  ): Granted {
    if (read === undefined) return { state: 'granted', ticket };
    const records = found
      .filter((kv) => this.#keys.isRecord(kv.key.toString()))
      .map((kv) => this.#keys.parseRecord(kv));
    const record = records.find(({ key }) => key === read);
    if (readBelow === undefined) return { state: 'granted', ticket, read: { record } };
    const below = records.filter(({ key }) => key.startsWith(readBelow));
    return { state: 'granted', ticket, read: { record, below } };
  }

  puts(request: TicketRequest, keys: readonly Buffer[]): IRequestOp[] {
    const value = ticketValue(request);
    const lease = isPermanent(request.session) ? {} : { lease: request.session };
    const puts = keys.map((key) => ({ request_put: { key, value, ...lease } }));
    const records = recordsOf(request).map(({ key, value: text }) => ({
      request_put: { key: this.#keys.recordKey(key), value: Buffer.from(text) },
    }));
    return [...puts, ...records];
  }

  gates({ locks }: TicketRequest): Buffer[] {
    return locks.map(({ name }) => this.#keys.gateKey(name));
  }
}
