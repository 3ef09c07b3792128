import type { StoreChange } from '../../../lib/lock/stores/ticket-store.ts';
import type { Happening } from '../locks/history.ts';

/**
 * The client of each session: the one that has opened or resumed it last. The law of incarnations: an earlier
 * client queues nothing in the session, writes nothing under its tickets, and removes none of them.
 */
export class SessionClients {
  readonly #incarnations = new Map<string, string>();
  readonly #clients = new Map<string, string>();
  readonly #earlier = new Map<string, Set<string>>();

  /** Notes the incarnations that a client has written; returns the sessions that it took over. */
  took(writer: string, incarnations: Readonly<Record<string, string>>): Happening[] {
    const takeovers: Happening[] = [];
    for (const [session, incarnation] of Object.entries(incarnations)) {
      if (this.#incarnations.get(session) === incarnation) continue;
      const before = this.#clients.get(session);
      this.#incarnations.set(session, incarnation);
      this.#clients.set(session, writer);
      if (before === undefined || before === writer) continue;
      const earlier = this.#earlier.get(session) ?? new Set();
      this.#earlier.set(session, earlier.add(before));
      takeovers.push({ kind: 'taken over', session, from: hostOf(before), by: hostOf(writer) });
    }
    return takeovers;
  }

  /** `sessionOf`: the session of a ticket, and whether anybody may end it. */
  objections(
    writer: string,
    { tickets, removedTickets, records }: StoreChange,
    sessionOf: (nonce: string) => { readonly session: string; readonly isOverdue: boolean },
  ): string[] {
    const queued = tickets
      .filter(({ session }) => this.#clients.get(session) !== writer)
      .map(({ token, session }) => `${writer} queued token ${token} in ${this.#owned(session)}`);
    const removed = removedTickets
      .map(({ nonce }) => sessionOf(nonce))
      .filter(({ session, isOverdue }) => !isOverdue && this.#isEarlier(writer, session))
      .map(({ session }) => `${writer} removed a ticket of ${this.#owned(session)}`);
    // The value of a record names its writer, after the token.
    const written = records
      .filter(({ value }) => value.split('.').slice(1, -1).join('.') !== writer)
      .map(({ value }) => `${writer} wrote ${value}`);
    return [...queued, ...removed, ...written].map((message) => `incarnation: ${message}`);
  }

  #isEarlier(writer: string, session: string): boolean {
    return (
      this.#clients.get(session) !== writer && this.#earlier.get(session)?.has(writer) === true
    );
  }

  #owned(session: string): string {
    return `session ${session}, which is of ${this.#clients.get(session)}`;
  }
}

/** Returns the host of a daemon. */
function hostOf(life: string): string {
  return life.slice(0, life.lastIndexOf('.'));
}
