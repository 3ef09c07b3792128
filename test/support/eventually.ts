import { setTimeout as delay } from 'node:timers/promises';
import { patience, pauseAfter } from './processes.ts';

/**
 * Repeats `check` until it passes, for at most 2 s on a quiet machine; then throws its last error.
 */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  const end = performance.now() + 2_000 * patience;
  for (;;) {
    const askedAt = performance.now();
    try {
      return await check();
    } catch (error) {
      if (performance.now() > end) throw error;
    }
    await delay(pauseAfter(performance.now() - askedAt, 2));
  }
}
