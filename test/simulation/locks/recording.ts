import type { Happening, HistoryEvent } from './history.ts';

/** A place in a history at which events are recorded later. */
export interface Mark {
  readonly at: number;
  readonly events: HistoryEvent[];
}

/**
 * A history that is being recorded. What a store decides in one step may be known only when its answer
 * arrives: the step leaves a mark, and the answer is recorded there, so that the order is that of the store.
 */
export class Recording {
  readonly #events: HistoryEvent[][] = [];

  record(at: number, happening: Happening, mark?: Mark): void {
    if (mark) mark.events.push({ at: mark.at, ...happening });
    else this.#events.push([{ at, ...happening }]);
  }

  mark(at: number): Mark {
    const events: HistoryEvent[] = [];
    this.#events.push(events);
    return { at, events };
  }

  history(): HistoryEvent[] {
    return this.#events.flat();
  }
}
