import { bootNowMs } from '../linux/boot.ts';

/** The engine's only source of time, so that a test or a simulation can bring its own. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back, and counts time asleep. */
  now(): number;
  /** Resolves after `ms`, or at once when the signal aborts (it does not reject). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** The time of day, for people. */
  date(): Date;
}

/** A suspend is shorter than this, or noticed by the wall clock. */
const suspendCheckMs = 100;

/**
 * The machine's clock. The monotonic clock stands still while a machine is suspended, and a lease
 * does not, so time asleep is added. The time since boot tells it; because it has to be read from a
 * file, that is done only when some time has passed, or when the wall clock has jumped.
 */
export function systemClock(): Clock {
  let asleepMs = 0;
  let checkedAt = Number.NEGATIVE_INFINITY;
  const wallLead = () => Date.now() - performance.now();
  let lead = wallLead();
  const bootLead = bootNowMs() - performance.now();
  return {
    now: () => {
      const monotonic = performance.now();
      const jumpedMs = Math.abs(wallLead() - lead);
      if (monotonic - checkedAt >= suspendCheckMs || jumpedMs >= suspendCheckMs) {
        checkedAt = monotonic;
        lead = wallLead();
        asleepMs = Math.max(asleepMs, bootNowMs() - monotonic - bootLead);
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
        const timer = setTimeout(done, ms);
        signal?.addEventListener('abort', done);
      }),
  };
}
