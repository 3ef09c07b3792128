import { setTimeout as sleep } from 'node:timers/promises';

export interface GrowingPauses {
  /** Pauses, longer each time. Rejects with the reason of the signal when that aborts. */
  next(signal: AbortSignal): Promise<void>;
  /** The next pause is as short as the first. */
  reset(): void;
}

/**
 * Returns pauses between attempts. Each is random, between a half and the whole of a time that doubles from
 * `firstMs` to `longestMs`: many processes that lost one server at one moment don't come back at one moment.
 */
export function growingPauses(firstMs = 200, longestMs = 5_000): GrowingPauses {
  let wholeMs = firstMs;
  return {
    next: async (signal) => {
      const pauseMs = (wholeMs * (1 + Math.random())) / 2;
      wholeMs = Math.min(2 * wholeMs, longestMs);
      // A pause keeps no process alive.
      await sleep(pauseMs, undefined, { ref: false, signal }).catch(() => signal.throwIfAborted());
    },
    reset: () => {
      wholeMs = firstMs;
    },
  };
}
