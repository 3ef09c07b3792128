import type {
  Disabled,
  Placement,
  Refused,
  StoreChange,
  TicketStore,
} from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket, TicketRequest } from '../../../lib/lock/ticket.ts';
import { happeningsOf } from './change-happenings.ts';
import type { Answer, Happening, RemovalCause } from './history.ts';

/** Throws unless a request with this proof may be granted now. */
export type MayBeGranted = (proof: number | undefined) => void;

/** More than a store has revisions: the numbers of tickets that were queued after a restore begin above. */
const numbersPerLife = 1_000_000;

/**
 * Records each step of a store, in the store's order. A store that was put back gives tokens again, so a
 * ticket has a *number* in the records, which no other ticket has: the token, and the life of the store.
 */
export class RecordedStore implements Disposable {
  readonly #record: (happening: Happening) => void;
  /** The numbers of all tickets that ever stood. */
  readonly #numbers = new Map<string, number>();
  /** The numbers of the tickets that stand, by nonce. */
  readonly #standing = new Map<string, number>();
  #store: TicketStore;
  #follow: Disposable;
  #revision = 0;
  #lives = 0;
  #cause: RemovalCause | undefined;

  constructor(store: TicketStore, record: (happening: Happening) => void) {
    this.#store = store;
    this.#record = record;
    this.#follow = this.#watch();
  }

  get revision(): number {
    return this.#revision;
  }

  [Symbol.dispose](): void {
    this.#follow[Symbol.dispose]();
  }

  /** Returns the number of a ticket in the records. */
  numberOf({ nonce, token }: Pick<Ticket, 'nonce' | 'token'>): number {
    return this.#numbers.get(`${nonce}/${token}`) ?? 0;
  }

  /** Goes on with another store, which has an earlier state. `expiries`: the ends of its sessions. */
  async putBack(store: TicketStore, expiries: ReadonlyMap<string, number>): Promise<void> {
    this.#follow[Symbol.dispose]();
    this.#store = store;
    this.#lives += 1;
    const tickets = await store.tickets();
    this.#standing.clear();
    for (const ticket of tickets) this.#standing.set(ticket.nonce, this.numberOf(ticket));
    this.#record({
      kind: 'put back',
      standing: [...this.#standing.values()],
      expiries: [...expiries],
      closedGates: (await store.gates()).map(({ lockName }) => lockName),
    });
    this.#follow = this.#watch();
  }

  /** Returns the store as the requests of one host reach it. */
  for(host: string, mayBeGranted: MayBeGranted = () => {}): TicketStore {
    const store = () => this.#store;
    const { name, properties } = this.#store;
    return {
      name,
      properties,
      openSession: async (request) => {
        const opened = await store().openSession(request);
        this.#record({ kind: 'opened', session: opened.id, ttlMs: opened.ttlMs });
        return opened;
      },
      renewSession: async (id) => {
        const renewed = await store().renewSession(id);
        this.#record({ kind: 'renewed', session: id, ttlMs: renewed.ttlMs });
        return renewed;
      },
      closeSession: (id) =>
        this.#because({ method: 'closeSession', host, session: id }, () =>
          store().closeSession(id),
        ),
      sessionAlive: (id) => store().sessionAlive(id),
      enqueue: async (request) => {
        if (!this.#standing.has(request.nonce)) mayBeGranted(request.proof);
        const answer = await store().enqueue(request);
        if (answer.state === 'granted') mayBeGranted(request.proof);
        return this.#answered('enqueue', host, request, answer);
      },
      tryEnqueue: async (request) => {
        if (!this.#standing.has(request.nonce)) mayBeGranted(request.proof);
        const answer = await store().tryEnqueue(request);
        if (answer.state === 'granted') mayBeGranted(request.proof);
        return this.#answered('tryEnqueue', host, request, answer);
      },
      place: async (ticket) => {
        const answer = await store().place(ticket);
        if (answer.state === 'granted') mayBeGranted(undefined);
        return this.#answered('place', host, ticket, answer);
      },
      stands: async (ticket) => {
        const stands = await store().stands(ticket);
        const answer = stands ? 'granted' : 'gone';
        this.#answer('stands', host, ticket, this.numberOf(ticket), answer, []);
        return stands;
      },
      remove: (ticket, claim, note) => {
        const { nonce } = ticket;
        const tokens = 'token' in ticket ? { tokens: [this.numberOf(ticket)] } : {};
        return this.#because({ method: 'remove', host, nonce, ...tokens }, () =>
          store().remove(ticket, claim, note),
        );
      },
      commit: (change) => {
        const tokens = change.release.map((ticket) => this.numberOf(ticket));
        return this.#because({ method: 'commit', host, tokens }, () => store().commit(change));
      },
      tickets: (lockName) => store().tickets(lockName),
      record: (key) => store().record(key),
      records: (prefix) => store().records(prefix),
      closeGate: (gate) => store().closeGate(gate),
      openGate: (lockName) => store().openGate(lockName),
      gates: () => store().gates(),
      health: () => store().health(),
      watch: (watcher) => store().watch(watcher),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  #watch(): Disposable {
    return this.#store.watch({
      reset: ({ revision }) => {
        this.#revision = revision;
      },
      change: (change) => this.#changed(change),
      interrupted: () =>
        this.#record({ kind: 'bug', message: 'the watch of the recorded store broke' }),
      resumed: () => {},
    });
  }

  /** Runs a step; one ends before the next begins, so `cause` explains all removals during it. */
  async #because<T>(cause: RemovalCause, step: () => Promise<T>): Promise<T> {
    this.#cause = cause;
    try {
      return await step();
    } finally {
      this.#cause = undefined;
    }
  }

  #answered<T extends Placement | Refused | Disabled>(
    method: 'enqueue' | 'tryEnqueue' | 'place',
    host: string,
    request: TicketRequest,
    answer: T,
  ): T {
    const token =
      'ticket' in answer ? this.numberOf(answer.ticket) : this.#standing.get(request.nonce);
    const blockers = 'blockers' in answer ? answer.blockers : [];
    this.#answer(method, host, request, token, answer.state, blockers);
    return answer;
  }

  #answer(
    method: 'enqueue' | 'tryEnqueue' | 'place' | 'stands',
    host: string,
    { holder }: TicketRequest,
    token: number | undefined,
    answer: Answer,
    blockers: readonly Ticket[],
  ): void {
    const request = holder.detail ?? '';
    const tokens = blockers.map((blocker) => this.numberOf(blocker));
    this.#record({ kind: 'answered', method, host, request, token, answer, blockers: tokens });
  }

  #changed(change: StoreChange): void {
    this.#revision = change.revision;
    const happenings = happeningsOf(change, {
      standing: this.#standing,
      numberOf: ({ token }) => this.#lives * numbersPerLife + token,
      causeOf: () => this.#cause,
    });
    for (const ticket of change.tickets) {
      const number = this.#lives * numbersPerLife + ticket.token;
      this.#numbers.set(`${ticket.nonce}/${ticket.token}`, number);
    }
    for (const happening of happenings) this.#record(happening);
  }
}
