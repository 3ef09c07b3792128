import type {
  Disabled,
  Placement,
  Refused,
  StoreChange,
  TicketStore,
} from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket, TicketRequest } from '../../../lib/lock/ticket.ts';
import type { Answer, Happening, RemovalCause } from './history.ts';

/** Records each step of a store, in the store's order. */
export class RecordedStore implements Disposable {
  readonly #store: TicketStore;
  readonly #record: (happening: Happening) => void;
  readonly #follow: Disposable;
  readonly #tokens = new Map<string, number>();
  #cause: RemovalCause | undefined;

  constructor(store: TicketStore, record: (happening: Happening) => void) {
    this.#store = store;
    this.#record = record;
    this.#follow = store.watch({
      reset: () => {},
      change: (change) => this.#changed(change),
      interrupted: () => record({ kind: 'bug', message: 'the watch of the recorded store broke' }),
      resumed: () => {},
    });
  }

  [Symbol.dispose](): void {
    this.#follow[Symbol.dispose]();
  }

  /** Returns the store as the requests of one host reach it. */
  for(host: string): TicketStore {
    const store = this.#store;
    return {
      ...store,
      openSession: async (request) => {
        const opened = await store.openSession(request);
        this.#record({ kind: 'opened', session: opened.id, ttlMs: opened.ttlMs });
        return opened;
      },
      renewSession: async (id) => {
        const renewed = await store.renewSession(id);
        this.#record({ kind: 'renewed', session: id, ttlMs: renewed.ttlMs });
        return renewed;
      },
      closeSession: (id) =>
        this.#because({ method: 'closeSession', host, session: id }, () => store.closeSession(id)),
      enqueue: async (request) =>
        this.#answered('enqueue', host, request, await store.enqueue(request)),
      tryEnqueue: async (request) =>
        this.#answered('tryEnqueue', host, request, await store.tryEnqueue(request)),
      place: async (ticket) => this.#answered('place', host, ticket, await store.place(ticket)),
      stands: async (ticket) => {
        const stands = await store.stands(ticket);
        const answer = stands ? 'granted' : 'gone';
        this.#answer('stands', host, ticket, ticket.token, answer, []);
        return stands;
      },
      remove: (ticket, claim, note) => {
        const { nonce } = ticket;
        const tokens = 'token' in ticket ? { tokens: [ticket.token] } : {};
        return this.#because({ method: 'remove', host, nonce, ...tokens }, () =>
          store.remove(ticket, claim, note),
        );
      },
      commit: (change) => {
        const tokens = change.release.map(({ token }) => token);
        return this.#because({ method: 'commit', host, tokens }, () => store.commit(change));
      },
    };
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
    const token = 'ticket' in answer ? answer.ticket.token : this.#tokens.get(request.nonce);
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
    const tokens = blockers.map((blocker) => blocker.token);
    this.#record({ kind: 'answered', method, host, request, token, answer, blockers: tokens });
  }

  #changed(change: StoreChange): void {
    for (const { key, value } of change.records) {
      const token = Number.parseInt(value, 10);
      this.#record({ kind: 'wrote', token, lockName: key, value });
    }
    for (const { nonce } of change.removedTickets) {
      const token = this.#tokens.get(nonce) ?? 0;
      this.#tokens.delete(nonce);
      this.#record({ kind: 'removed', token, cause: this.#cause });
    }
    for (const { token, nonce, session, locks, holder } of change.tickets) {
      this.#tokens.set(nonce, token);
      const request = holder.detail ?? '';
      this.#record({ kind: 'queued', token, nonce, request, session, locks });
    }
    for (const { lockName } of change.closedGates) this.#record({ kind: 'closed gate', lockName });
    for (const lockName of change.openedGates) this.#record({ kind: 'opened gate', lockName });
  }
}
