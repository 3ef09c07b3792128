import { setTimeout as delay } from 'node:timers/promises';
import { pauseAfter } from './processes.ts';

/**
 * A wait that ends within this time was not left to the poll of a waiter whose watch is live, which comes
 * after 30 s (`lib/lock/engine/acquirer.ts`).
 */
export const beforePollMs = 25_000;

/**
 * Repeats `check` until it passes, for less time than `beforePollMs`; then throws its last error.
 */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  const end = performance.now() + 20_000;
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
