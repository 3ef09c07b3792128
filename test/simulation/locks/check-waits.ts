import type { RequestCheck } from './check-requests.ts';
import type { HistoryEvent } from './history.ts';
import type { StandingTickets } from './standing-tickets.ts';
import { isBlocked } from './standing-tickets.ts';

/** The longest time from the removal of the last blocker to the grant, when nothing is wrong. */
const handOverMs = 500;

/** The interval of the waiters' own polling, by the fastest clock. */
const pollMs = 4_900;

interface Wait {
  /** The time at which the store last named the blockers. */
  answeredAt: number;
  blockers: readonly number[];
  /** The time since which nothing blocks the request. */
  freeSince: number | undefined;
}

/** The law of waits: waiters are woken in time, and only those that may have become free. */
export class WaitCheck {
  readonly #requests: RequestCheck;
  readonly #waits = new Map<number, Wait>();
  readonly #gatesMovedAt = new Map<string, number>();
  readonly #startedAt = new Map<string, number>();

  constructor(requests: RequestCheck) {
    this.#requests = requests;
  }

  /** Checks an event that has been applied to `store`. */
  judge(event: HistoryEvent, store: StandingTickets): string[] {
    switch (event.kind) {
      case 'closed gate':
      case 'opened gate':
        this.#gatesMovedAt.set(event.lockName, event.at);
        return [];
      case 'started':
        this.#startedAt.set(event.host, event.at);
        return [];
      case 'put back':
        this.#waits.clear();
        return [];
      case 'answered':
        return this.#answered(event, store);
      case 'held':
        return this.#granted(event, store);
      case 'removed':
        this.#waits.delete(event.token);
        this.#lookWhoIsFree(event.at, store);
        return [];
      default:
        return [];
    }
  }

  #answered(event: HistoryEvent & { kind: 'answered' }, store: StandingTickets): string[] {
    const { at, token, answer, blockers } = event;
    if (token === undefined) return [];
    const found = event.method === 'place' ? this.#judgePlace(event, store) : [];
    if (answer === 'waiting') {
      const freeSince = this.#waits.get(token)?.freeSince;
      this.#waits.set(token, { answeredAt: at, blockers, freeSince });
      return found;
    }
    const host = this.#requests.hostOf(event.request);
    if (answer === 'granted' && host) found.push(...this.#granted({ at, host, token }, store));
    this.#waits.delete(token);
    return found;
  }

  /** Checks a grant, of which the host has learned by an answer or, if it holds the lock now, by its watch. */
  #granted(
    { at, host, token }: { readonly at: number; readonly host: string; readonly token: number },
    store: StandingTickets,
  ): string[] {
    const wait = this.#waits.get(token);
    this.#waits.delete(token);
    if (wait?.freeSince === undefined || this.#requests.isExcused(host, wait.freeSince)) return [];
    if (this.#sawGateMove(token, wait.answeredAt, store)) return [];
    const lateMs = at - wait.freeSince;
    if (lateMs <= handOverMs) return [];
    return [`lost wake-up: token ${token} was granted ${lateMs.toFixed()} ms late`];
  }

  /** Checks that a waiter asks again only when it may have become free. */
  #judgePlace(event: HistoryEvent & { kind: 'answered' }, store: StandingTickets): string[] {
    const { at, token, host } = event;
    const wait = token === undefined ? undefined : this.#waits.get(token);
    if (token === undefined || !wait) return [];
    if (!wait.blockers.every((blocker) => store.standing.has(blocker))) return [];
    if (!store.standing.has(token) || at - wait.answeredAt >= pollMs) return [];
    if (this.#sawGateMove(token, wait.answeredAt - handOverMs, store)) return [];
    if (this.#requests.isExcused(host, wait.answeredAt)) return [];
    // The first event of a watch is the whole state, which wakes every waiter.
    if (at - (this.#startedAt.get(host) ?? 0) < handOverMs) return [];
    return [`herd: token ${token} was woken without need`];
  }

  #sawGateMove(token: number, since: number, store: StandingTickets): boolean {
    const locks = store.known.get(token)?.locks ?? [];
    return locks.some(
      ({ name }) => (this.#gatesMovedAt.get(name) ?? Number.NEGATIVE_INFINITY) >= since,
    );
  }

  #lookWhoIsFree(at: number, store: StandingTickets): void {
    for (const [token, wait] of this.#waits) {
      if (wait.freeSince !== undefined) continue;
      const ticket = store.standing.get(token);
      if (!ticket) continue;
      if (!isBlocked(ticket, store.below(ticket))) wait.freeSince = at;
    }
  }
}
