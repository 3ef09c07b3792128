import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from '@jest/globals';
import { LockTimeoutError } from '../../../lib/lock/errors.ts';
import { openDescriptors } from '../../support/processes.ts';
import { ManagerBench, queue, take } from '../bench/manager-bench.ts';
import type { StoreFixture } from '../bench/store-bench.ts';
import { eventually } from '../bench/store-bench.ts';

const cycles = 10_000;
const reconnecting = 2;
const names = Array.from({ length: 10 }, (_, index) => `db${index}`);

/** Checks that nothing accumulates, neither in the store nor in the process. */
export function lockLeaks(store: string, makeStore: () => Promise<StoreFixture>): void {
  test(`S13 S48 leaves nothing of 10,000 locks on the ${store} store`, async () => {
    await using bench = await ManagerBench.open(await makeStore(), 3);
    const [n1, n2] = bench.managers;
    const caller = new AbortController();
    const options = { signal: caller.signal, timeoutMs: 60_000 };
    const cycle = async (name: string, index: number) => {
      const lock = await take(n1, name, options);
      if (index % 10 === 0) {
        const next = await queue(n2, name, options);
        await lock.unlock();
        await (await next.granted).unlock();
      } else if (index % 100 === 1) {
        await expect(take(n2, name, { timeoutMs: 2 })).rejects.toThrow(LockTimeoutError);
      }
      await lock.unlock();
    };
    const run = async (count: number) => {
      for (let index = 0; index < count / names.length; index += 1) {
        await Promise.all(names.map((name) => cycle(name, index)));
      }
    };
    await run(1_000);
    const before = await usage();
    using listeners = countListeners();
    await run(cycles);
    // The managers' own sleeps may have some; each manager has few.
    expect(listeners.left()).toBeLessThan(10);
    await eventually(async () => {
      const after = await usage();
      // A client may be connecting again. A leak of every thousandth lock would leave ten.
      const leaked = Object.entries(after.resources).filter(
        ([resource, count]) => count > (before.resources[resource] ?? 0) + reconnecting,
      );
      expect(leaked).toEqual([]);
      expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + reconnecting);
      // A leaked lock costs about 10 kB; this allows less than one leak in a hundred locks.
      expect(after.heapBytes - before.heapBytes).toBeLessThan(1_000_000);
    });
    expect(getEventListeners(caller.signal, 'abort')).toHaveLength(0);
    expect(await bench.store.tickets()).toEqual([]);
    await eventually(() => expect(n1.mirror.tickets()).toEqual([]));
  });
}

/** Returns what this process has allocated, after a garbage collection. */
export async function usage() {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  collect();
  const resources: Record<string, number> = {};
  for (const resource of process.getActiveResourcesInfo().sort()) {
    resources[resource] = (resources[resource] ?? 0) + 1;
  }
  return {
    resources,
    descriptors: await openDescriptors(process.pid),
    heapBytes: process.memoryUsage().heapUsed,
  };
}

/** Counts the abort signals with listeners that were added after this call and are still there. */
export function countListeners(): Disposable & { left(): number } {
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  const listeners = new Map<EventTarget, Set<unknown>>();
  EventTarget.prototype.addEventListener = function (this: EventTarget, ...args) {
    const own = listeners.get(this) ?? new Set();
    if (this instanceof AbortSignal && !this.aborted) listeners.set(this, own.add(args[1]));
    addEventListener.apply(this, args);
  };
  EventTarget.prototype.removeEventListener = function (this: EventTarget, ...args) {
    const own = listeners.get(this);
    own?.delete(args[1]);
    if (own?.size === 0) listeners.delete(this);
    removeEventListener.apply(this, args);
  };
  return {
    left: () => listeners.size,
    [Symbol.dispose]: () =>
      Object.assign(EventTarget.prototype, { addEventListener, removeEventListener }),
  };
}
