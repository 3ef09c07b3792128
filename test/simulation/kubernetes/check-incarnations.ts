import { mainTtlMs } from '../locks/commands.ts';
import type { HistoryEvent } from '../locks/history.ts';
import type { StandingTickets } from '../locks/standing-tickets.ts';

/** How long an earlier client may go on to believe in its locks, by the slowest clock. */
const lapseMs = mainTtlMs * 1.02;

/** The law of incarnations for holders: whose session another has resumed, believes in its locks for no more than a TTL. */
export class IncarnationCheck {
  readonly #takeovers = new Map<string, HistoryEvent & { kind: 'taken over' }>();
  readonly #tokens = new Map<string, number>();

  judge(event: HistoryEvent, store: StandingTickets): string[] {
    switch (event.kind) {
      case 'taken over':
        if (event.from !== event.by) this.#takeovers.set(event.session, event);
        return [];
      case 'held': {
        this.#tokens.set(`${event.host}/${event.request}`, event.token);
        return this.#objection(event, event.token, store, 0);
      }
      case 'checked': {
        const token = this.#tokens.get(`${event.host}/${event.request}`);
        if (!event.passes || token === undefined) return [];
        return this.#objection(event, token, store, lapseMs);
      }
      default:
        return [];
    }
  }

  #objection(
    { at, host, request }: { readonly at: number; readonly host: string; readonly request: string },
    token: number,
    store: StandingTickets,
    graceMs: number,
  ): string[] {
    const takeover = this.#takeovers.get(store.known.get(token)?.session ?? '');
    if (takeover?.from !== host || at <= takeover.at + graceMs) return [];
    return [
      `incarnation: ${request} believes in token ${token} on ${host} after ${takeover.by} resumed its session`,
    ];
  }
}
