import type { Clock } from './clock.ts';

/**
 * Yields at once, and then each time `pauseMs` after the step before has ended, until the signal
 * aborts. The caller's loop body is the step; `break` and `return` end the repetition.
 */
export async function* every(
  pauseMs: number,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<void, void> {
  while (!signal.aborted) {
    yield;
    await clock.sleep(pauseMs, signal);
  }
}
