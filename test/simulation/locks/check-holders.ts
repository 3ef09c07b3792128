import type { LockRequest } from '../../../lib/lock/ticket.ts';
import type { RequestCheck } from './check-requests.ts';
import type { HistoryEvent } from './history.ts';
import type { StandingTickets } from './standing-tickets.ts';
import { areRivals, fullLocks } from './standing-tickets.ts';

/** How late the end of the longest hold may be reported: timers are late, clocks differ by 1 %. */
const lateTimerMs = 150;
const clockError = 1.02;

/** How long a holder may take to learn that its ticket was removed, while nothing else is wrong. */
const learnMs = 500;

interface Belief {
  readonly host: string;
  readonly request: string;
  readonly token: number;
  readonly locks: readonly LockRequest[];
  readonly listens: boolean;
  readonly since: number;
}

/**
 * The law of the honest holder: while a host runs, nobody on it believes in a lock that the store
 * has granted to another. A frozen host can't learn anything, so its first check afterwards counts.
 * A broken lock is excused: its holder learns of the break later.
 */
export class HolderCheck {
  readonly #beliefs = new Map<string, Belief>();
  readonly #paused = new Set<string>();
  readonly #maxHolds = new Map<string, number>();
  readonly #written = new Set<string>();
  /** The tickets whose locks were ever handed over. */
  readonly #held = new Set<number>();
  readonly #requests: RequestCheck;

  constructor(requests: RequestCheck) {
    this.#requests = requests;
  }

  judge(event: HistoryEvent, store: StandingTickets): string[] {
    switch (event.kind) {
      case 'requested':
        if (event.limits.maxHoldMs !== undefined) {
          this.#maxHolds.set(event.request, event.limits.maxHoldMs);
        }
        return [];
      case 'held': {
        const { at, host, request, token, locks, listens } = event;
        const belief = { host, request, token, locks, listens, since: at };
        this.#beliefs.set(`${host}/${request}`, belief);
        // A lock that is taken back may not have been another's in a past that is gone.
        const isTakenBack = this.#held.has(token);
        if (isTakenBack) this.#maxHolds.delete(request); // Such a lock has no longest hold.
        this.#held.add(token);
        const found = rivalsOf(belief, store, isTakenBack).map(
          (rival) => `honesty: ${rival} when handed over`,
        );
        found.push(...this.#secondHolders(belief, store));
        const ticket = store.known.get(token);
        if (!ticket?.isGranted && !ticket?.wasFree)
          found.push(`exclusion: ${request} holds token ${token} without a grant`);
        return found;
      }
      case 'answered':
        return this.#judgeGrant(event, store);
      case 'checked': {
        const belief = this.#beliefs.get(`${event.host}/${event.request}`);
        if (!belief || !event.passes) return [];
        const found = rivalsOf(belief, store).map((rival) => `honesty: ${rival} at its check`);
        return [...found, ...this.#judgeLength(belief, event.at, store)];
      }
      case 'notified':
      case 'released':
        return this.#end(event, store);
      case 'paused':
        this.#paused.add(event.host);
        return [];
      case 'resumed':
        this.#paused.delete(event.host);
        this.#forgetMaxHolds(event.host);
        return [];
      case 'crashed':
        this.#paused.delete(event.host);
        this.#forgetMaxHolds(event.host);
        for (const [key, { host }] of this.#beliefs) {
          if (host === event.host) this.#beliefs.delete(key);
        }
        return [];
      case 'wrote':
        this.#written.add(event.value);
        return [];
      case 'write done':
        return this.#written.has(event.value) ? [] : [`effect: ${event.value} was never written`];
      case 'write refused':
        if (event.code !== 'lost') return [`error: a guarded write failed with ${event.code}`];
        return this.#written.has(event.value) ? [`effect: ${event.value} was written`] : [];
      default:
        return [];
    }
  }

  /** Returns who else believes at the same time, whatever the store says: it may have forgotten. */
  #secondHolders(belief: Belief, store: StandingTickets): string[] {
    // A lock can be broken while its grant is on the way to its holder, as after it has arrived.
    if (store.known.get(belief.token)?.isBroken) return [];
    const others = [...this.#beliefs.values()]
      .filter((other) => other.request !== belief.request)
      .filter(({ host, listens }) => listens && !this.#paused.has(host))
      .filter(({ token }) => !store.known.get(token)?.isBroken);
    return [
      ...others
        .filter((other) => areRivals(belief.locks, other.locks))
        .map(({ request }) => `exclusion: ${belief.request} and ${request} hold at once`),
      ...fullLocks(belief.locks, others).map(
        (lock) => `exclusion: ${belief.request} holds one permit too many of ${lock}`,
      ),
    ];
  }

  #judgeGrant(event: HistoryEvent & { kind: 'answered' }, store: StandingTickets): string[] {
    if (event.answer !== 'granted' || event.token === undefined) return [];
    const granted = store.known.get(event.token);
    if (!granted) return [];
    const others = [...this.#beliefs.values()]
      .filter(({ host, listens }) => listens && !this.#paused.has(host))
      .filter(({ token }) => token !== granted.token && !store.known.get(token)?.isBroken);
    return [
      ...others
        .filter(({ locks }) => areRivals(locks, granted.locks))
        .map(
          ({ request, token }) =>
            `honesty: ${request} believes in token ${token} when ${granted.token} is granted`,
        ),
      ...fullLocks(granted.locks, others).map(
        (lock) =>
          `honesty: all permits of ${lock} are believed in when ${granted.token} is granted`,
      ),
    ];
  }

  #end(
    { at, host, request }: { at: number; host: string; request: string },
    store: StandingTickets,
  ): string[] {
    const belief = this.#beliefs.get(`${host}/${request}`);
    this.#beliefs.delete(`${host}/${request}`);
    const found = belief?.listens ? this.#judgeLength(belief, at, store) : [];
    this.#maxHolds.delete(request);
    return found;
  }

  /** Returns the violations of a holder that believes in its lock at this time. */
  #judgeLength(belief: Belief, at: number, store: StandingTickets): string[] {
    const { request, host, token, since } = belief;
    const found: string[] = [];
    const removedAt = store.known.get(token)?.removedAt ?? at;
    if (at - Math.max(removedAt, since) > learnMs && !this.#requests.isExcused(host, removedAt)) {
      found.push(`honesty: ${request} did not learn that token ${token} was removed`);
    }
    const maxHoldMs = this.#maxHolds.get(request) ?? Number.POSITIVE_INFINITY;
    if (at - since > maxHoldMs * clockError + lateTimerMs) {
      const heldMs = (at - since).toFixed();
      found.push(`longest hold: ${request} was held for ${heldMs} of ${maxHoldMs} ms`);
    }
    return found;
  }

  /** Stops checking longest holds on a host, which was frozen or has restarted. */
  #forgetMaxHolds(name: string): void {
    for (const { host, request } of this.#beliefs.values()) {
      if (host === name) this.#maxHolds.delete(request);
    }
  }
}

/** Returns the grants to others that contradict a holder's belief. */
function rivalsOf(belief: Belief, store: StandingTickets, withPast = true): string[] {
  if (store.known.get(belief.token)?.isBroken) return [];
  return [...store.known.values()]
    .filter(({ isGranted, token }) => isGranted && token > belief.token)
    .filter(({ isOfThePast }) => withPast || !isOfThePast)
    .filter(({ locks }) => areRivals(belief.locks, locks))
    .map(
      ({ token, request }) =>
        `${belief.request} believed in token ${belief.token} after ${token} of ${request} was granted`,
    );
}
