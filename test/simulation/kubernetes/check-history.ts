import type { Violation } from '../locks/check-history.ts';
import { HolderCheck } from '../locks/check-holders.ts';
import { RequestCheck } from '../locks/check-requests.ts';
import { judgeGrant, judgeRemoval, judgeWrite } from '../locks/check-store.ts';
import { WaitCheck } from '../locks/check-waits.ts';
import type { HistoryEvent } from '../locks/history.ts';
import { StandingTickets } from '../locks/standing-tickets.ts';
import { IncarnationCheck } from './check-incarnations.ts';

/**
 * Checks a history against the promises of the lock engine. They are those of `../locks/check-history.ts`, but
 * for the time of an expiry: clients end the sessions of others, so it ends late while none of them runs.
 * That it ends is checked at the end of each history, which leaves no ticket.
 */
export function violationsOf(history: readonly HistoryEvent[]): Violation[] {
  const store = new StandingTickets();
  const requests = new RequestCheck();
  const holders = new HolderCheck(requests);
  const waits = new WaitCheck(requests);
  const incarnations = new IncarnationCheck();
  const violations: Violation[] = [];
  for (const event of history) {
    const messages = [judgeGrant, judgeWrite, judgeRemoval].flatMap((judge) => judge(event, store));
    messages.push(...holders.judge(event, store));
    messages.push(...requests.judge(event, store));
    messages.push(...incarnations.judge(event, store));
    store.apply(event);
    messages.push(...waits.judge(event, store));
    violations.push(...messages.map((message) => ({ message, at: event.at })));
  }
  return violations;
}
