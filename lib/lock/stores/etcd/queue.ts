import type {
  ICompare,
  IKeyValue,
  IRangeRequest,
  IRequestOp,
  ITxnRequest,
  ITxnResponse,
} from '../../../etcd/client.ts';
import { EtcdRefusedError, LeaseGoneError, prefixRange } from '../../../etcd/client.ts';
import { isPermanent } from '../../permanent-session.ts';
import type { Ticket, TicketRequest } from '../../ticket.ts';
import { namesOf, recordsOf, storedPart } from '../../ticket.ts';
import type { Disabled, Granted, Placement, Refused, Waiting } from '../ticket-store.ts';
import type { EtcdBatches } from './batches.ts';
import type { EtcdKeys } from './keys.ts';
import { ticketValue } from './keys.ts';
import type { EtcdSlots } from './slots.ts';
import { foundIn, hasToken, isAbsent, maxTxnOps } from './txn.ts';

/**
 * The tickets in etcd. A ticket has one key per lock; one Txn writes them all, so they share one
 * create revision: the token. With 64 locks, a Txn is as large as etcd allows. Rejects as the
 * client.
 */
export class EtcdQueue {
  readonly #batches: EtcdBatches;
  readonly #keys: EtcdKeys;
  readonly #slots: EtcdSlots;

  constructor(batches: EtcdBatches, keys: EtcdKeys, slots: EtcdSlots) {
    this.#batches = batches;
    this.#keys = keys;
    this.#slots = slots;
  }

  async enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled> {
    const id = this.#slots.idFor(request);
    const keys = this.#keys.ticketKeys({ id, locks: request.locks });
    return (
      (await this.#takeIfFree(request, id, keys, [])).granted ?? this.#queue(request, id, keys)
    );
  }

  async tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled> {
    const id = this.#slots.idFor(request);
    const keys = this.#keys.ticketKeys({ id, locks: request.locks });
    const inTheWay = [
      ...request.locks.map((lock) => this.#keys.nearestConflict(lock)),
      ...keys.map((key) => ({ key })),
      ...this.#gates(request).map((key) => ({ key })),
    ];
    const fits = inTheWay.length <= maxTxnOps;
    const taken = await this.#takeIfFree(request, id, keys, fits ? inTheWay : []);
    if (taken.granted) return taken.granted;
    const found = fits ? taken.found : await this.#readAtOnce(request, inTheWay);

    const own = new Set(keys.map(String));
    const [mine, others] = partition(found, (kv) => own.has(kv.key.toString()));
    const earlier = await this.#earlier(request, mine);
    if (earlier?.state === 'waiting') return { state: 'refused', blockers: earlier.blockers };
    if (earlier) return earlier;
    const gates = this.#keys.parseGates(others);
    if (gates.length > 0) return { state: 'disabled', gates };
    const blockers = this.#keys.parseTickets(others);
    // Only our own freed slot was in the way, or the blocker has gone: try again.
    if (blockers.length === 0) return this.tryEnqueue(request);
    return { state: 'refused', blockers };
  }

  async place(ticket: Ticket): Promise<Placement> {
    const keys = this.#keys.ticketKeys(ticket);
    const gates = this.#gates(ticket);
    const answer = await this.#look(ticket, {
      compare: [...keys.map((key) => hasToken(key, ticket.token)), ...gates.map(isAbsent)],
      success: ticket.locks.map((lock) => ({
        request_range: this.#keys.nearestConflict(lock, ticket.token),
      })),
      failure: [
        ...keys.map((key) => ({ request_range: { key, keys_only: true } })),
        ...gates.map((key) => ({ request_range: { key } })),
      ],
    });
    const found = foundIn(answer.responses);
    if (!answer.succeeded) {
      const standing = found.filter((kv) => Number(kv.create_revision) === ticket.token);
      if (standing.length < keys.length) return { state: 'gone' };
      return { state: 'disabled', gates: this.#keys.parseGates(found) };
    }
    const blockers = this.#keys.parseTickets(found);
    if (blockers.length === 0) return { state: 'granted', ticket };
    return { state: 'waiting', ticket, blockers, revision: Number(answer.header.revision) };
  }

  async stands(ticket: Ticket): Promise<boolean> {
    const answer = await this.#look(ticket, {
      compare: this.#keys.ticketKeys(ticket).map((key) => hasToken(key, ticket.token)),
      success: ticket.locks.map((lock) => ({
        request_range: { ...this.#keys.nearestConflict(lock, ticket.token), keys_only: true },
      })),
      failure: [],
    });
    return answer.succeeded && foundIn(answer.responses).length === 0;
  }

  async remove(ticket: Ticket | TicketRequest, claim?: string): Promise<void> {
    const id = 'id' in ticket ? ticket.id : this.#slots.idFor(ticket);
    const keys = this.#keys.ticketKeys({ id, locks: ticket.locks });
    const still: (key: Buffer) => ICompare =
      'token' in ticket
        ? (key) => hasToken(key, ticket.token)
        : (key) => ({ target: 'Value', result: 'Equal', key, value: ticketValue(ticket) });
    const removals = keys.map((key) => ({
      compare: [still(key)],
      success: [{ request_delete_range: { key } }],
      failure: [],
    }));
    const claims = claim === undefined ? [] : [{ key: this.#keys.recordKey(claim) }];
    const [only] = removals;
    // One nested Txn per key, so that a missing key does not keep the others.
    const success = [
      ...removals.map((r) => ({ request_txn: r })),
      ...claims.map((range) => ({ request_delete_range: range })),
    ];
    const txn = success.length === 1 && only ? only : { compare: [], success, failure: [] };
    const touches = [...namesOf(ticket.locks), ...(claim === undefined ? [] : [claim])];
    await this.#batches.send({ txn, touches });
    this.#slots.free(ticket);
  }

  /** Writes the ticket if nothing is in the way (usual case). Else returns what `ranges` find. */
  async #takeIfFree(
    request: TicketRequest,
    id: string,
    keys: readonly Buffer[],
    ranges: readonly IRangeRequest[],
  ): Promise<{ granted?: Granted; found: IKeyValue[] }> {
    const { succeeded, revision, found } = await this.#write(request, {
      compare: this.#isFree(request, keys),
      success: [...this.#reads(request), ...this.#puts(request, keys)],
      failure: ranges.map((range) => ({ request_range: range })),
    });
    if (!succeeded) return { found };
    return { granted: this.#granted(request, ticketOf(request, id, revision), found), found };
  }

  /** Queues the ticket behind its blockers; a repeat finds the ticket of the first call. */
  async #queue(
    request: TicketRequest,
    id: string,
    keys: readonly Buffer[],
  ): Promise<Granted | Waiting | Disabled> {
    const places = [...keys, ...this.#gates(request)];
    const { succeeded, revision, found } = await this.#write(request, {
      compare: places.map(isAbsent),
      // etcd runs the ranges before the puts, so they find lower tickets only.
      success: [
        ...request.locks.map((lock) => ({ request_range: this.#keys.nearestConflict(lock) })),
        ...this.#reads(request),
        ...this.#puts(request, keys),
      ],
      failure: places.map((key) => ({ request_range: { key } })),
    });
    if (!succeeded) {
      const [gates, mine] = partition(found, (kv) => this.#keys.isGate(kv.key.toString()));
      const earlier = await this.#earlier(request, mine);
      if (earlier) return earlier;
      if (gates.length === 0) return this.enqueue(request);
      return { state: 'disabled', gates: this.#keys.parseGates(gates) };
    }
    const ticket = ticketOf(request, id, revision);
    const blockers = this.#keys.parseTickets(found);
    if (blockers.length === 0) return this.#granted(request, ticket, found);
    return { state: 'waiting', ticket, blockers, revision };
  }

  /**
   * Compares that nothing is in the way: no conflicting ticket, no closed gate (in the same range),
   * and no ticket in the request's own place (which an exclusive lock's range includes).
   */
  #isFree(request: TicketRequest, keys: readonly Buffer[]): ICompare[] {
    return request.locks.flatMap((lock, index) => {
      const own = keys[index];
      const conflicts = isAbsent(this.#keys.conflictRange(lock));
      return lock.mode === 'exclusive' || !own ? [conflicts] : [conflicts, isAbsent(own)];
    });
  }

  #reads({ read, readBelow }: TicketRequest): IRequestOp[] {
    const ranges = [
      ...(read === undefined ? [] : [{ key: this.#keys.recordKey(read) }]),
      ...(readBelow === undefined ? [] : [prefixRange(`${this.#keys.recordsPrefix}${readBelow}`)]),
    ];
    return ranges.map((range) => ({ request_range: range }));
  }

  /** `found` has the records that the request reads, as far as they exist. */
  #granted(
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

  #puts(request: TicketRequest, keys: readonly Buffer[]): IRequestOp[] {
    const value = ticketValue(request);
    const lease = isPermanent(request.session) ? {} : { lease: request.session };
    const puts = keys.map((key) => ({ request_put: { key, value, ...lease } }));
    const records = recordsOf(request).map(({ key, value: text }) => ({
      request_put: { key: this.#keys.recordKey(key), value: Buffer.from(text) },
    }));
    return [...puts, ...records];
  }

  #gates({ locks }: TicketRequest): Buffer[] {
    return locks.map(({ name }) => this.#keys.gateKey(name));
  }

  /** Sends a Txn that only reads. */
  #look({ locks }: TicketRequest, txn: ITxnRequest): Promise<ITxnResponse> {
    return this.#batches.send({ txn, touches: namesOf(locks), isLook: true });
  }

  /** Sends a Txn that writes a ticket. If its outcome stays unknown, the slot is in doubt. */
  async #write(
    request: TicketRequest,
    txn: ITxnRequest,
  ): Promise<{ succeeded: boolean; revision: number; found: IKeyValue[] }> {
    const { mark, claim, read, readBelow, freesSpace = false } = request;
    const records = [mark, claim?.key, read, readBelow].filter((key) => key !== undefined);
    const touches = [...namesOf(request.locks), ...records];
    const lease = request.session;
    try {
      const answer = await this.#batches.send({ txn, touches, lease, freesSpace });
      return {
        succeeded: answer.succeeded,
        revision: Number(answer.header.revision),
        found: foundIn(answer.responses),
      };
    } catch (error) {
      const isUnwritten = error instanceof LeaseGoneError || error instanceof EtcdRefusedError;
      if (isUnwritten) this.#slots.free(request);
      else this.#slots.doubt(request);
      throw error;
    }
  }

  /** Reads, in one step, more ranges than one branch of a Txn can hold. */
  async #readAtOnce(
    request: TicketRequest,
    ranges: readonly IRangeRequest[],
  ): Promise<IKeyValue[]> {
    const half = Math.ceil(ranges.length / 2);
    const halves = [ranges.slice(0, half), ranges.slice(half)].map((part) => ({
      compare: [],
      success: part.map((range) => ({ request_range: range })),
      failure: [],
    }));
    const success = halves.map((txn) => ({ request_txn: txn }));
    const answer = await this.#look(request, { compare: [], success, failure: [] });
    return foundIn(answer.responses);
  }

  /**
   * Examines `found`, the content of a refused request's own place. If it is the request's own
   * ticket, from a call whose answer was lost, returns where that ticket stands. If it is nothing,
   * or a ticket of an earlier process with this session, frees the slot and returns undefined.
   */
  async #earlier(
    request: TicketRequest,
    found: readonly IKeyValue[],
  ): Promise<Granted | Waiting | Disabled | undefined> {
    const mine = this.#keys.parseTickets(found).find(({ nonce }) => nonce === request.nonce);
    const placement = mine && (await this.place(mine));
    if (placement && placement.state !== 'gone') return placement;
    if (found.length > 0) this.#slots.move(request);
    else this.#slots.free(request);
    return undefined;
  }
}

function partition<T>(all: readonly T[], isFirst: (each: T) => boolean): [T[], T[]] {
  return [all.filter(isFirst), all.filter((each) => !isFirst(each))];
}

function ticketOf(request: TicketRequest, id: string, token: number): Ticket {
  return { ...storedPart(request), id, token };
}
