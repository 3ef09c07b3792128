import { readFileSync } from 'node:fs';

/** The engine's only source of time, so that a test or a simulation can bring its own. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back, and counts time asleep. */
  now(): number;
  /** Resolves after `ms`, or at once when the signal aborts (it does not reject). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** The time of day, for people. */
  date(): Date;
}

/**
 * The machine's clock. The monotonic clock stands still while a machine is suspended, and a lease
 * does not, so `now` is the larger of it and the time since boot, which counts suspend.
 */
export function systemClock(): Clock {
  const monotonicStart = performance.now();
  const bootStart = uptimeMs();
  return {
    now: () => Math.max(performance.now() - monotonicStart, uptimeMs() - bootStart),
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

/** CLOCK_BOOTTIME as /proc/uptime gives it, to 10 ms. */
function uptimeMs(): number {
  return Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000;
}
