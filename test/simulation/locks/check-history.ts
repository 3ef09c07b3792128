import { HolderCheck } from './check-holders.ts';
import { RequestCheck } from './check-requests.ts';
import { judgeExpiry, judgeGrant, judgeRemoval, judgeWrite } from './check-store.ts';
import { WaitCheck } from './check-waits.ts';
import type { HistoryEvent } from './history.ts';
import { StandingTickets } from './standing-tickets.ts';

/** A promise that a history breaks, and when it was broken. */
export interface Violation {
  /** The name of the promise, then what happened: `exclusion: …`. */
  readonly message: string;
  readonly at: number;
}

/** Checks a history against the promises of the lock engine; returns nothing when it keeps all. */
export function violationsOf(history: readonly HistoryEvent[]): Violation[] {
  const store = new StandingTickets();
  const requests = new RequestCheck();
  const holders = new HolderCheck(requests);
  const waits = new WaitCheck(requests);
  const violations: Violation[] = [];
  for (const event of history) {
    const messages = [judgeGrant, judgeWrite, judgeRemoval, judgeExpiry].flatMap((judge) =>
      judge(event, store),
    );
    messages.push(...holders.judge(event, store));
    messages.push(...requests.judge(event, store));
    store.apply(event);
    messages.push(...waits.judge(event, store));
    violations.push(...messages.map((message) => ({ message, at: event.at })));
  }
  return violations;
}
