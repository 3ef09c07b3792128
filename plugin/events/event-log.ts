import { EventEmitter, once } from 'node:events';
import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { systemClock } from '../../lib/running/clock.ts';
import type { EventSink, VolumeEvent } from '../../lib/volumes/events.ts';

const log = createDebug('berth:event');

/** How many events are kept. */
export const keptEvents = 1_000;

/** An event with its number and time. */
export interface LoggedEvent extends Omit<VolumeEvent, 'kind'> {
  /** An EventKind, or the kind of an event that another release has recorded. */
  readonly kind: string;
  /** Counts events one by one, over restarts of the daemon. */
  readonly number: number;
  /** RFC 3339, by this host's clock. */
  readonly time: string;
}

export interface EventLogOptions {
  /** The events of the previous daemon, oldest first. */
  readonly past?: readonly LoggedEvent[];
  /** Stores each event for the next daemon. Must not throw, and must not wait. */
  readonly keep?: (event: LoggedEvent) => void;
  readonly clock?: Pick<Clock, 'date'>;
}

/** The last events of this host's volumes, in memory, to read and to follow. */
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

  /** Returns the events with a larger number, oldest first. */
  since(number: number): LoggedEvent[] {
    return this.#events.filter((event) => event.number > number);
  }

  /** Yields the events with a larger number, then each new one, until the signal aborts. */
  async *follow(number: number, signal: AbortSignal): AsyncGenerator<LoggedEvent, void> {
    let last = number;
    for (;;) {
      const events = this.since(last);
      if (events.length === 0) {
        if (signal.aborted) return;
        await once(this.#recorded, 'event', { signal }).catch(() => {
          // Aborted: events that were recorded just before are still yielded.
        });
      }
      for (const event of events) {
        last = event.number;
        yield event;
      }
    }
  }
}
