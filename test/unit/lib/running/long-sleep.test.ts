// Sleeps that are longer than one timer of node, on fake timers.
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { systemClock } from '../../../../lib/running/clock.ts';

const longestTimerMs = 2 ** 31 - 1;

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['performance', 'Date', 'nextTick', 'queueMicrotask'] });
});
afterEach(() => {
  jest.useRealTimers();
});

/** Starts a sleep, and tells whether it has ended. */
function sleeping(ms: number, signal?: AbortSignal): { hasEnded: boolean } {
  const sleep = { hasEnded: false };
  void systemClock()
    .sleep(ms, signal)
    .then(() => {
      sleep.hasEnded = true;
    });
  return sleep;
}

test('F10 a sleep may be longer than the longest timer of node', async () => {
  const sleep = sleeping(3 * longestTimerMs + 5);
  await jest.advanceTimersByTimeAsync(3 * longestTimerMs + 4);
  expect(sleep.hasEnded).toBe(false);
  await jest.advanceTimersByTimeAsync(1);
  expect(sleep.hasEnded).toBe(true);
  expect(jest.getTimerCount()).toBe(0);
});

test('F10 a sleep without end ends when its signal aborts, and leaves no timer', async () => {
  const cancel = new AbortController();
  const sleep = sleeping(Number.POSITIVE_INFINITY, cancel.signal);
  await jest.advanceTimersByTimeAsync(2 * longestTimerMs);
  expect(sleep.hasEnded).toBe(false);
  cancel.abort();
  await jest.advanceTimersByTimeAsync(0);
  expect(sleep.hasEnded).toBe(true);
  expect(jest.getTimerCount()).toBe(0);
});
