import { z } from 'zod';
import type { MachineClock } from './ports.ts';

/** A jump of the time of day by less than this is the correction of a clock. */
export const smallestJumpMs = 1_000;

/** The knowledge of jumps; a successor needs it, because the sentinel may be killed right after a jump. */
export const clockNewsSchema = z.object({
  /** The time of day less the time since boot. */
  dayLeadMs: z.number(),
  /** Deadlines by the boot clock that are earlier than this one mean nothing. */
  distrustedBeforeMs: z.number(),
});

export type ClockNews = z.infer<typeof clockNewsSchema>;

/**
 * Notices that time has passed which the boot clock did not count: a virtual machine that was paused
 * or migrated often gets its time of day set forward when it goes on. Deadlines that were computed
 * before mean nothing then. A clock that is set back says nothing of that kind.
 */
export class ClockJump {
  readonly #clock: MachineClock;
  #news: ClockNews;

  constructor(clock: MachineClock, news: ClockNews | undefined) {
    this.#clock = clock;
    this.#news = news ?? { dayLeadMs: this.#dayLeadMs(), distrustedBeforeMs: 0 };
  }

  get news(): ClockNews {
    return this.#news;
  }

  distrust(beforeMs: number): void {
    this.#news = { ...this.#news, distrustedBeforeMs: beforeMs };
  }

  /** Returns by how much the time of day has jumped forward since the last call; 0 if it has not. */
  read(): number {
    const dayLeadMs = this.#dayLeadMs();
    const jumpedMs = dayLeadMs - this.#news.dayLeadMs;
    this.#news = { ...this.#news, dayLeadMs };
    return jumpedMs >= smallestJumpMs ? jumpedMs : 0;
  }

  #dayLeadMs(): number {
    return this.#clock.timeOfDayMs() - this.#clock.now();
  }
}
