// `lead`: one leader at a time, and another term after a loss; a real lock manager on a memory store.
import { expect, test } from '@jest/globals';
import type { Term } from '../../../lib/lock/index.ts';
import { LockCancelledError, LockManager, lead, openLocks } from '../../../lib/lock/index.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import { systemClock } from '../../../lib/running/clock.ts';

/** Locks of two hosts, on one store. */
function twoHosts() {
  const clock = systemClock();
  const shared = memoryState(clock);
  const [n1, n2] = ['n1', 'n2'].map((host) => {
    const store = memoryStore({ clock, shared });
    return new LockManager({ store, host, owner: host, ttlMs: 15_000, clock });
  });
  if (!n1 || !n2) throw new Error('there are two');
  return { n1, n2 };
}

function aborted({ signal }: Term): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve());
  });
}

test('the second leads when the first has ended, in a later term', async () => {
  const { n1, n2 } = twoHosts();
  await using _ = n1;
  await using __ = n2;
  const done = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const order: string[] = [];
  const first = lead(n1, 'cron', async ({ number }) => {
    begun.resolve();
    await done.promise;
    order.push('n1');
    return number;
  });
  await begun.promise;
  const second = lead(n2, 'cron', async ({ number }) => {
    order.push('n2');
    return number;
  });
  expect((await n2.inspect('leader/cron'))[0]?.holder).toMatchObject({
    host: 'n1',
    reason: 'Leader',
  });
  done.resolve();
  expect(await second).toBeGreaterThan(await first);
  expect(order).toEqual(['n1', 'n2']);
  expect(await n1.list()).toEqual([]);
});

test('a leader that has lost its lock leads again when its work has ended, and not before', async () => {
  await using locks = await openLocks('memory:');
  const terms: Term[] = [];
  let running = 0;
  const result = await locks.leader('cron', async (term) => {
    running += 1;
    expect(running).toBe(1);
    terms.push(term);
    if (terms.length < 4) {
      await locks.breakLock(term.lock.ticket);
      await aborted(term);
    }
    running -= 1;
    // The first ends as if nothing had happened, the others by the loss.
    if (terms.length === 2) throw term.signal.reason;
    if (terms.length === 3) throw new Error('the work was ended', { cause: term.signal.reason });
    return `term ${terms.length}`;
  });
  expect(result).toBe('term 4');
  const numbers = terms.map(({ number }) => number);
  expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  expect(new Set(numbers).size).toBe(4);
});

test('an error of the work is that of the call, also after a loss', async () => {
  await using locks = await openLocks('memory:');
  const failure = new Error('no space left');
  await expect(
    locks.leader('cron', async () => {
      throw failure;
    }),
  ).rejects.toBe(failure);
  await expect(
    locks.leader('cron', async (term) => {
      await locks.breakLock(term.lock.ticket);
      await aborted(term);
      throw failure;
    }),
  ).rejects.toBe(failure);
  expect(await locks.list()).toEqual([]);
});

test('a signal ends the wait of one that does not lead, and the work of one that does', async () => {
  const { n1, n2 } = twoHosts();
  await using _ = n1;
  await using __ = n2;
  const begun = Promise.withResolvers<void>();
  const stop = new AbortController();
  const leading = lead(
    n1,
    'cron',
    async (term) => {
      begun.resolve();
      await aborted(term);
      term.lock.throwIfLost();
      return 'stopped';
    },
    { signal: stop.signal },
  );
  await begun.promise;
  const waiting = lead(n2, 'cron', async () => 'led', { signal: stop.signal });
  stop.abort();
  expect(await leading).toBe('stopped');
  await expect(waiting).rejects.toThrow(LockCancelledError);
  expect(await n1.list()).toEqual([]);
});
