import { setImmediate } from 'node:timers/promises';

const sliceMs = 5;

/** Yields the items, and gives up the processor now and then: there may be thousands. */
export async function* inSlices<T>(items: readonly T[]): AsyncGenerator<T, void, undefined> {
  let end = performance.now() + sliceMs;
  for (const item of items) {
    yield item;
    if (performance.now() < end) continue;
    await setImmediate();
    end = performance.now() + sliceMs;
  }
}
