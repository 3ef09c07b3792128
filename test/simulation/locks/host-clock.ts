import type { Clock } from '../../../lib/running/clock.ts';
import type { Random } from '../random.ts';
import { longTailed } from '../random.ts';
import type { Party, Scheduler } from '../scheduler.ts';

export interface HostClockOptions {
  readonly scheduler: Scheduler;
  readonly party: Party;
  /** The speed of the clock: 1.01 is one percent too fast. */
  readonly rate: number;
  /** The reading at the start. */
  readonly startMs: number;
  readonly random: Random;
}

/** The clock of one process on one host, in virtual time. */
export class HostClock implements Clock {
  readonly #options: HostClockOptions;
  #sleeping = 0;

  constructor(options: HostClockOptions) {
    this.#options = options;
  }

  now(): number {
    const { scheduler, rate, startMs } = this.#options;
    return startMs + scheduler.now * rate;
  }

  date(): Date {
    return new Date(Date.UTC(2026, 0, 1) + this.now());
  }

  /** The number of sleeps that have not ended. */
  get sleeping(): number {
    return this.#sleeping;
  }

  /** Sleeps, and wakes a little late, now and then much later, as timers do. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { scheduler, party, rate, random } = this.#options;
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      this.#sleeping += 1;
      const wake = () => {
        timer.run = undefined;
        signal?.removeEventListener('abort', wake);
        this.#sleeping -= 1;
        resolve();
      };
      const lateMs = longTailed(random, 0.01, 60);
      const timer = scheduler.after(Math.max(1, ms) / rate + lateMs, party, 'timer', wake);
      signal?.addEventListener('abort', wake);
    });
  }
}
