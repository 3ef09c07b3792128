import type { HistoryEvent, RequestLimits } from './history.ts';
import type { StandingTickets } from './standing-tickets.ts';

/** How long a fault may have effects: a late message, a lapsed session. */
export const faultEchoMs = 12_000;

/** How late an error may be: timers are late, and a ticket has to be removed. */
const promptMs = 250;

interface Request {
  readonly host: string;
  readonly askedAt: number;
  readonly limits: RequestLimits;
  cancelledAt: number | undefined;
  sawClosedGate: boolean;
  isBroken: boolean;
  lastAnswer: string | undefined;
  blockers: number;
}

/** The law of calls: each one ends in time, with an error that fits, and leaves nothing behind. */
export class RequestCheck {
  readonly #open = new Map<string, Request>();
  readonly #faults = new Map<string, number>();

  /** True when a recent fault of a host excuses it. */
  isExcused(host: string, since: number): boolean {
    return (this.#faults.get(host) ?? Number.NEGATIVE_INFINITY) >= since - faultEchoMs;
  }

  /** Returns the host of a call that has not ended. */
  hostOf(request: string): string | undefined {
    return this.#open.get(request)?.host;
  }

  judge(event: HistoryEvent, store: StandingTickets): string[] {
    switch (event.kind) {
      case 'requested': {
        const { at, host, request, limits } = event;
        this.#open.set(request, {
          host,
          askedAt: at,
          limits,
          cancelledAt: undefined,
          sawClosedGate: limits.locks.some(({ name }) => store.closedGates.has(name)),
          isBroken: false,
          lastAnswer: undefined,
          blockers: 0,
        });
        return [];
      }
      case 'cancelled': {
        const request = this.#open.get(event.request);
        if (request) request.cancelledAt = event.at;
        return [];
      }
      case 'closed gate':
        this.#seeClosed([event.lockName]);
        return [];
      case 'put back':
        this.#seeClosed(event.closedGates);
        return [];
      case 'broken': {
        const request = this.#open.get(store.known.get(event.token)?.request ?? '');
        if (request) request.isBroken = true;
        return [];
      }
      case 'answered': {
        const request = this.#open.get(event.request);
        if (!request) return [];
        request.lastAnswer = event.answer;
        request.blockers = event.blockers.length;
        return [];
      }
      case 'held': {
        const request = this.#open.get(event.request);
        this.#open.delete(event.request);
        if (request?.cancelledAt === undefined) return [];
        return [`cancelled: ${event.request} holds although it was cancelled before`];
      }
      case 'failed':
        return this.#judgeFailure(event, store);
      case 'started':
        // A restarted daemon may find the rest of the one before; the first daemon finds nothing.
        if (this.#faults.has(event.host)) this.#faults.set(event.host, event.at);
        return [];
      case 'stopping':
        this.#faults.set(event.host, event.at);
        for (const request of this.#open.values()) {
          if (request.host === event.host) request.cancelledAt ??= event.at;
        }
        return [];
      case 'fault':
      case 'paused':
      case 'resumed':
        this.#faults.set(event.host, event.at);
        return [];
      case 'crashed':
        this.#faults.set(event.host, event.at);
        for (const [name, { host }] of this.#open) if (host === event.host) this.#open.delete(name);
        return [];
      case 'bug':
        return [`bug: ${event.message}`];
      case 'ended':
        return [
          ...event.leftovers.map((leftover) => `leftover: ${leftover}`),
          ...[...this.#open.keys()].map((name) => `lost wake-up: ${name} was never answered`),
        ];
      default:
        return [];
    }
  }

  /** Records that the gates of these locks are closed now. */
  #seeClosed(lockNames: readonly string[]): void {
    for (const request of this.#open.values()) {
      const isItsOwn = request.limits.locks.some(({ name }) => lockNames.includes(name));
      request.sawClosedGate ||= isItsOwn;
    }
  }

  #judgeFailure(event: HistoryEvent & { kind: 'failed' }, store: StandingTickets): string[] {
    const request = this.#open.get(event.request);
    this.#open.delete(event.request);
    if (!request) return [`error: ${event.request} failed and was not open`];
    const isExcused = this.isExcused(request.host, request.askedAt);
    const found: string[] = [];
    const objection = this.#objection(event, request, isExcused);
    if (objection) found.push(`error: ${event.request} ended as ${event.message}: ${objection}`);
    if (isExcused) return found;
    for (const ticket of store.standing.values()) {
      if (ticket.request === event.request) {
        found.push(`leftover: ${event.request} failed and token ${ticket.token} stands`);
      }
    }
    return found;
  }

  /** Returns why an error does not fit, if it does not. */
  #objection(
    { at, code, waitedMs }: HistoryEvent & { kind: 'failed' },
    request: Request,
    isExcused: boolean,
  ): string | undefined {
    const { timeoutMs } = request.limits;
    switch (code) {
      case 'contended':
        if (timeoutMs !== 0) return 'the request was willing to wait';
        if (request.lastAnswer !== 'refused') return 'the store did not refuse it';
        return request.blockers > 0 ? undefined : 'nothing blocked it';
      case 'timeout':
        if (timeoutMs === undefined || timeoutMs === 0) return 'it had no time-out';
        if (waitedMs < timeoutMs) return `it waited ${waitedMs} of ${timeoutMs} ms`;
        return isExcused || waitedMs < timeoutMs + promptMs ? undefined : 'late';
      case 'cancelled':
        if (request.cancelledAt === undefined) return 'nobody cancelled it';
        return isExcused || at < request.cancelledAt + promptMs ? undefined : 'late';
      case 'disabled':
        return request.sawClosedGate ? undefined : 'no gate was closed';
      case 'lost':
        return request.isBroken || isExcused ? undefined : 'nothing happened to it';
      case 'unavailable':
        return isExcused ? undefined : 'the store was reachable';
      default:
        return 'no such failure is expected';
    }
  }
}
