import { EventEmitter, once } from 'node:events';
import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { systemClock } from '../../lib/running/clock.ts';
import type { EventSink, VolumeEvent } from '../../lib/volumes/events.ts';

const log = createDebug('berth:event');

/** How many events are remembered. */
export const keptEvents = 1_000;

/** An event as the log has it. */
export interface LoggedEvent extends Omit<VolumeEvent, 'kind'> {
  /** An EventKind, or the kind of an event that another release has recorded. */
  readonly kind: string;
  /** One more than that of the event before. */
  readonly number: number;
  /** RFC 3339, by this host's clock. */
  readonly time: string;
}

export interface EventLogOptions {
  /** What the process before has recorded; oldest first. */
  readonly past?: readonly LoggedEvent[];
  /** Takes each event to a place that outlives this process. Never throws, and never waits. */
  readonly keep?: (event: LoggedEvent) => void;
  readonly clock?: Pick<Clock, 'date'>;
}

/** The last events of this host's volumes, in memory, for who asks and who follows. */
export class EventLog implements EventSink {
  readonly #events: LoggedEvent[];
  readonly #keep: (event: LoggedEvent) => void;
  readonly #clock: Pick<Clock, 'date'>;
  readonly #recorded = new EventEmitter();

  constructor({ past = [], keep = () => {}, clock = systemClock() }: EventLogOptions = {}) {
    this.#events = past.slice(-keptEvents);
    this.#keep = keep;
    this.#clock = clock;
    this.#recorded.setMaxListeners(0);
  }

  record(event: VolumeEvent): void {
    const number = (this.#events.at(-1)?.number ?? 0) + 1;
    const logged = { number, time: this.#clock.date().toISOString(), ...event };
    this.#events.push(logged);
    if (this.#events.length > keptEvents) this.#events.shift();
    log('%s %s volume=%s: %s', event.severity, event.kind, event.volume, event.message);
    this.#keep(logged);
    this.#recorded.emit('event');
  }

  /** Those with a larger number; oldest first. */
  since(number: number): LoggedEvent[] {
    return this.#events.filter((event) => event.number > number);
  }

  /** Those with a larger number, and then each as it comes, until the signal aborts. */
  async *follow(number: number, signal: AbortSignal): AsyncGenerator<LoggedEvent, void> {
    let last = number;
    for (;;) {
      const events = this.since(last);
      if (events.length === 0) {
        if (signal.aborted) return;
        await once(this.#recorded, 'event', { signal }).catch(() => {
          // Aborted: what was recorded just before is still told.
        });
      }
      for (const event of events) {
        last = event.number;
        yield event;
      }
    }
  }
}
