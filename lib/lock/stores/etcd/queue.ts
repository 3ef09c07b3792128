import type { IKeyValue, IRangeRequest } from '../../../etcd/client.ts';
import type { Ticket, TicketRequest } from '../../ticket.ts';
import { storedPart } from '../../ticket.ts';
import type {
  Disabled,
  Granted,
  Placement,
  RecordNote,
  Refused,
  Waiting,
} from '../ticket-store.ts';
import type { EtcdBatches, Requirement } from './batches.ts';
import type { EtcdHistory } from './history.ts';
import type { EtcdKeys } from './keys.ts';
import { removalRequest } from './removal.ts';
import type { EtcdSessions } from './sessions.ts';
import type { EtcdSlots } from './slots.ts';
import { TicketParts } from './ticket-parts.ts';
import { hasRoom, TicketTxns } from './ticket-txns.ts';
import { foundIn, hasToken, isAbsent, maxTxnOps } from './txn.ts';

/** How often a try asks again because others wrote meanwhile, before it takes a place in the queue. */
const mostRepeats = 3;

export interface EtcdQueueParts {
  readonly batches: EtcdBatches;
  readonly keys: EtcdKeys;
  readonly slots: EtcdSlots;
  readonly history: Pick<EtcdHistory, 'isOpen' | 'requireOpenIn'>;
  readonly sessions: EtcdSessions;
}

/**
 * The tickets in etcd. A ticket has one key per lock; one Txn writes them all, so they share one
 * create revision: the token. With 64 locks, a Txn is as large as etcd allows. Rejects as the
 * client.
 */
export class EtcdQueue {
  readonly #batches: EtcdBatches;
  readonly #keys: EtcdKeys;
  readonly #slots: EtcdSlots;
  readonly #history: Pick<EtcdHistory, 'isOpen' | 'requireOpenIn'>;
  readonly #sessions: EtcdSessions;
  readonly #parts: TicketParts;
  readonly #txns: TicketTxns;

  constructor({ batches, keys, slots, history, sessions }: EtcdQueueParts) {
    this.#batches = batches;
    this.#keys = keys;
    this.#slots = slots;
    this.#history = history;
    this.#sessions = sessions;
    this.#parts = new TicketParts(keys);
    this.#txns = new TicketTxns(batches, slots, sessions);
  }

  async enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled> {
    await this.#requireOpen(request);
    const id = this.#slots.idFor(request);
    const keys = this.#keys.ticketKeys({ id, locks: request.locks });
    // The step that queues a permit also counts the others.
    const isCounted = request.locks.some(({ mode }) => mode === 'permit');
    const taken = isCounted ? undefined : await this.#takeIfFree(request, id, keys, []);
    return taken?.granted ?? this.#queue(request, id, keys);
  }

  tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled> {
    return this.#try(request);
  }

  /**
   * `seenAt`: the revision at which the permits of the request were found to be free; `repeats`: how often nothing
   * kept the request from its lock, and others wrote before its own write.
   */
  async #try(
    request: TicketRequest,
    seenAt?: number,
    repeats = 0,
  ): Promise<Granted | Refused | Disabled> {
    await this.#requireOpen(request);
    const id = this.#slots.idFor(request);
    const keys = this.#keys.ticketKeys({ id, locks: request.locks });
    const inTheWay = [
      ...this.#parts.nearest(request),
      ...keys.map((key) => ({ key })),
      ...this.#parts.gates(request).map((key) => ({ key })),
      this.#quarantine,
    ];
    // With the look at the session.
    const fits = inTheWay.length < maxTxnOps;
    const taken = await this.#takeIfFree(request, id, keys, fits ? inTheWay : [], seenAt);
    if (taken.granted) return taken.granted;
    const found = fits ? taken.found : await this.#txns.readAtOnce(request, inTheWay);
    const own = new Set(keys.map(String));
    const [mine, others] = partition(found, (kv) => own.has(kv.key.toString()));
    const earlier = await this.#earlier(request, mine);
    if (!earlier) this.#history.requireOpenIn(others, request.proof);
    if (earlier) return this.#grantedOrWithdrawn(request, earlier);
    const gates = this.#keys.parseGates(others);
    if (gates.length > 0) return { state: 'disabled', gates };
    this.#parts.requirePermits(request, others);
    const blockers = this.#parts.blockers(request, others);
    if (blockers.length > 0) return { state: 'refused', blockers };
    // Only our own freed slot was in the way, the blocker has gone, or a permit is free: try again.
    if (repeats < mostRepeats) return this.#try(request, taken.revision, repeats + 1);
    return this.#grantedOrWithdrawn(request, await this.enqueue(request));
  }

  /**
   * Turns the place of a try in the queue into its answer. A ticket that waits is removed again: those behind it then
   * stand as if it had never come. One step queues a request whatever others write, so a try always gets an answer.
   */
  async #grantedOrWithdrawn(
    request: TicketRequest,
    placed: Granted | Waiting | Disabled,
  ): Promise<Granted | Refused | Disabled> {
    if (placed.state === 'granted') return placed;
    await this.remove(request, request.claim?.key);
    if (placed.state === 'disabled') return placed;
    return { state: 'refused', blockers: placed.blockers };
  }

  /** `proof`: of the request that the ticket is of. */
  async place(ticket: Ticket, proof?: number): Promise<Placement> {
    const keys = this.#keys.ticketKeys(ticket);
    const gates = this.#parts.gates(ticket);
    const answer = await this.#txns.look(ticket, {
      compare: [
        ...keys.map((key) => hasToken(key, ticket.token)),
        ...gates.map(isAbsent),
        ...this.#txns.isOurs(ticket),
      ],
      success: [...this.#parts.nearest(ticket, ticket.token), this.#quarantine].map((range) => ({
        request_range: range,
      })),
      failure: [
        ...keys.map((key) => ({ request_range: { key, keys_only: true } })),
        ...gates.map((key) => ({ request_range: { key } })),
        ...this.#txns.lookAtSession(ticket),
      ],
    });
    const found = foundIn(answer.responses);
    if (!answer.succeeded) {
      if (this.#sessions.isTaken(ticket.session, found)) return { state: 'gone' };
      const standing = found.filter((kv) => Number(kv.create_revision) === ticket.token);
      if (standing.length < keys.length) return { state: 'gone' };
      return { state: 'disabled', gates: this.#keys.parseGates(found) };
    }
    const blockers = this.#parts.blockers(ticket, found);
    if (blockers.length === 0) {
      this.#history.requireOpenIn(found, proof);
      return { state: 'granted', ticket };
    }
    return { state: 'waiting', ticket, blockers, revision: Number(answer.header.revision) };
  }

  async stands(ticket: Ticket): Promise<boolean> {
    const keys = this.#keys.ticketKeys(ticket);
    const answer = await this.#txns.look(ticket, {
      compare: [
        ...keys.map((key) => hasToken(key, ticket.token)),
        ...this.#sessions.guards([ticket.session]),
      ],
      success: [
        ...this.#parts.nearest(ticket, ticket.token).map((range) => ({
          request_range: { ...range, keys_only: true },
        })),
        ...keys.map((key) => ({ request_range: { key } })),
      ],
      failure: [],
    });
    if (!answer.succeeded) return false;
    const own = new Set(keys.map(String));
    const [mine, others] = partition(foundIn(answer.responses), (kv) => own.has(String(kv.key)));
    // In another history, the key of another ticket can have the same create revision.
    return (
      this.#keys.inTheWay(ticket.locks, others).length === 0 &&
      mine.every((kv) => this.#keys.parseTicket(kv).nonce === ticket.nonce)
    );
  }

  async remove(ticket: Ticket | TicketRequest, claim?: string, note?: RecordNote): Promise<void> {
    const id = 'id' in ticket ? ticket.id : this.#slots.idFor(ticket);
    const requires = this.#sessions.requirements(ticket.session);
    await this.#batches.send(removalRequest({ ticket, id, requires, claim, note }, this.#keys));
    this.#slots.free(ticket);
  }

  /** Writes the ticket if nothing is in the way (usual case). Else returns what `ranges` find. */
  async #takeIfFree(
    request: TicketRequest,
    id: string,
    keys: readonly Buffer[],
    ranges: readonly IRangeRequest[],
    seenAt?: number,
  ): Promise<{ granted?: Granted; found: IKeyValue[]; revision: number }> {
    const txn = {
      compare: this.#parts.isFree(request, keys, seenAt),
      success: [...this.#parts.reads(request), ...this.#parts.puts(request, keys)],
      failure: ranges.map((range) => ({ request_range: range })),
    };
    const required = this.#isOpen(request);
    const { succeeded, revision, found } = await this.#txns.write(request, txn, required);
    if (!succeeded) return { found, revision };
    const granted = this.#parts.granted(request, ticketOf(request, id, revision), found);
    return { granted, found, revision };
  }

  /** Queues the ticket behind its blockers; a repeat finds the ticket of the first call. */
  async #queue(
    request: TicketRequest,
    id: string,
    keys: readonly Buffer[],
  ): Promise<Granted | Waiting | Disabled> {
    const places = [...keys, ...this.#parts.gates(request)];
    const otherPermits = this.#parts.otherPermits(request);
    const txn = {
      compare: [...places, ...otherPermits].map(isAbsent),
      // etcd runs the ranges before the puts, so they find lower tickets only.
      success: [
        ...this.#parts.nearest(request).map((range) => ({ request_range: range })),
        ...this.#parts.reads(request),
        ...this.#parts.puts(request, keys),
      ],
      failure: [
        ...places.map((key) => ({ key })),
        ...otherPermits.map((range) => ({ ...range, limit: 1 })),
        ...(hasRoom(request) ? [this.#quarantine] : []),
      ].map((range) => ({ request_range: range })),
    };
    const required = this.#isOpen(request);
    const { succeeded, revision, found } = await this.#txns.write(request, txn, required);
    if (!succeeded) {
      const [gates, rest] = partition(found, (kv) => this.#keys.isGate(kv.key.toString()));
      const own = new Set(keys.map(String));
      const [mine, others] = partition(rest, (kv) => own.has(kv.key.toString()));
      const earlier = await this.#earlier(request, mine);
      if (earlier) return earlier;
      this.#history.requireOpenIn(others, request.proof);
      if (gates.length > 0) return { state: 'disabled', gates: this.#keys.parseGates(gates) };
      this.#parts.requirePermits(request, others);
      return this.enqueue(request);
    }
    const ticket = ticketOf(request, id, revision);
    const blockers = this.#parts.blockers(request, found);
    if (blockers.length === 0) return this.#parts.granted(request, ticket, found);
    return { state: 'waiting', ticket, blockers, revision };
  }

  /** Requires that the store may grant the request now, if the Txn has room for it. */
  #isOpen(request: TicketRequest): Requirement[] {
    const isOpen = this.#history.isOpen(request.proof);
    return hasRoom(request) ? [isOpen] : [];
  }

  /**
   * Asks for the quarantine before a request that has no room for it. It can't begin between the two
   * calls: only another history of etcd begins one, and then no answer is believed.
   */
  async #requireOpen(request: TicketRequest): Promise<void> {
    if (hasRoom(request)) return;
    const success = [
      { request_range: this.#quarantine },
      ...this.#sessions.looks([request.session]),
    ];
    const answer = await this.#txns.look(request, { compare: [], success, failure: [] });
    const found = foundIn(answer.responses);
    this.#sessions.requireOwn(request.session, found);
    this.#history.requireOpenIn(found, request.proof);
  }

  get #quarantine(): IRangeRequest {
    return { key: this.#keys.quarantineKey };
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
    const placement = mine && (await this.place(mine, request.proof));
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
