import { bootClock } from '../linux/boot.ts';

/** The only source of time of what waits or measures, so that a test can bring its own. */
export interface Clock {
  /** Returns milliseconds since some fixed moment; never goes back, and counts time asleep. */
  now(): number;
  /**
   * Resolves after `ms`, which may be Infinity, or at once when the signal aborts (it does not reject).
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Returns the time of day, for people. */
  date(): Date;
}

/** How often time asleep is read; a jump of the wall clock shows a longer suspend at once. */
const suspendCheckMs = 100;

/** `setTimeout` fires at once for a longer time. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Returns the machine's clock. The monotonic clock stops while a machine is suspended, but a lease
 * expires meanwhile, so time asleep is added. The time since boot includes it; that has to be read
 * from a file, so it is read only when some time has passed, or when the wall clock has jumped.
 *
 * A clock that counts whole seconds may show a second too much or too little: less than a second of
 * sleep is then taken for none, and more of it for a second more, because a lease may have expired.
 */
export function systemClock(boot = bootClock()): Clock {
  let asleepMs = 0;
  let checkedAt = Number.NEGATIVE_INFINITY;
  const wallLead = () => Date.now() - performance.now();
  let lead = wallLead();
  const bootLead = boot.nowMs() - performance.now();
  return {
    now: () => {
      const monotonic = performance.now();
      const jumpedMs = Math.abs(Date.now() - monotonic - lead);
      if (monotonic - checkedAt >= suspendCheckMs || jumpedMs >= suspendCheckMs) {
        checkedAt = monotonic;
        lead = wallLead();
        const foundMs = boot.nowMs() - monotonic - bootLead;
        if (foundMs >= boot.stepMs) asleepMs = Math.max(asleepMs, foundMs + boot.stepMs);
      }
      return monotonic + asleepMs;
    },
    date: () => new Date(),
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve();
        const done = () => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', done);
          resolve();
        };
        let timer: NodeJS.Timeout | undefined;
        const wait = (leftMs: number) => {
          const nextMs = Math.min(leftMs, longestTimerMs);
          timer = setTimeout(() => (leftMs > nextMs ? wait(leftMs - nextMs) : done()), nextMs);
        };
        wait(ms);
        signal?.addEventListener('abort', done);
      }),
  };
}
