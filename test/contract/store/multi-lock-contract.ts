import { expect, test } from '@jest/globals';
import type { BenchOf } from '../bench/store-bench.ts';
import { exclusive, shared } from '../bench/store-bench.ts';

/** Names that are parts of one another, that need encoding, or that look encoded. */
const oddNames = [
  'a',
  'a/',
  'a/b',
  '/a',
  'a b',
  ' ',
  'ü',
  'u\u0308',
  '%2F',
  'a%2Fb',
  '%',
  '.',
  '..',
  'a\nb',
  'a"b\'c',
  '名前',
  '🔒',
  'A',
  'x'.repeat(300),
  'x'.repeat(299),
];

/** Checks requests for several locks, which are granted together or not at all. */
export function multiLockContract(benchOf: BenchOf): void {
  test('S61 S71 gives one token for all locks and excludes others from each of them', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const both = await n1.hold('mount', 'snapshot');
    expect(await n2.tryEnqueue('mount')).toEqual({ state: 'refused', blockers: [both] });
    expect(await n3.tryEnqueue('snapshot')).toEqual({ state: 'refused', blockers: [both] });
    expect(await n2.tryEnqueue('snapshot', 'other')).toMatchObject({ state: 'refused' });
    for (const lock of ['mount', 'snapshot']) {
      expect(await n3.store.tickets(lock)).toEqual([both]);
    }
    expect(await n3.store.tickets()).toEqual([both]);
  });

  test('defect A4, S75 takes none of the locks when a try is refused', async () => {
    const [n1, n2, n3] = benchOf().clients;
    await n1.hold('b');
    expect(await n2.tryEnqueue('a', 'b', 'c')).toMatchObject({ state: 'refused' });
    expect(await n3.enqueue('a', 'c')).toMatchObject({ state: 'granted' });
  });

  test('waits until all locks are free, and names the nearest ticket on each as a blocker', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const a = await n1.hold('a');
    const b = await n2.hold('b');
    const all = await n3.enqueue('a', 'b', 'c');
    expect(all).toMatchObject({ state: 'waiting', blockers: [a, b] });
    await n1.store.remove(a);
    expect(await n3.store.place(all.ticket)).toMatchObject({ state: 'waiting', blockers: [b] });
    await n2.store.remove(b);
    expect(await n3.store.place(all.ticket)).toMatchObject({ state: 'granted' });
  });

  test('names a ticket once that blocks two locks', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('a', 'b');
    expect(await n2.enqueue('b', 'a')).toMatchObject({ state: 'waiting', blockers: [held] });
  });

  test('does not let requests with locks in opposite order wait for each other', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const held = await n3.hold('a', 'b');
    const [one, two] = [await n1.queue('a', 'b'), await n2.queue('b', 'a')];
    await n3.store.remove(held);
    expect(await n1.store.place(one)).toMatchObject({ state: 'granted' });
    expect(await n2.store.place(two)).toMatchObject({ state: 'waiting', blockers: [one] });
  });

  test('mixes shared and exclusive locks in one ticket', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const first = await n1.hold(shared('image'), exclusive('a'));
    await n2.hold(shared('image'), exclusive('b'));
    expect(await n3.tryEnqueue(shared('image'), exclusive('a'))).toEqual({
      state: 'refused',
      blockers: [first],
    });
    expect(await n3.tryEnqueue(exclusive('image'))).toMatchObject({ state: 'refused' });
  });

  test('frees all locks of a removed ticket', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.store.remove(await n1.hold('a', 'b', 'c'));
    for (const lock of ['a', 'b', 'c']) {
      expect(await n2.tryEnqueue(lock)).toMatchObject({ state: 'granted' });
    }
  });

  test('takes 64 locks in one request', async () => {
    const [n1, n2] = benchOf().clients;
    const names = Array.from({ length: 64 }, (_, index) => `lock-${index}`);
    const held = await n1.hold(...names);
    expect(held.locks).toHaveLength(64);
    const waiting = await n2.enqueue(...names.toReversed());
    expect(waiting).toMatchObject({ state: 'waiting', blockers: [held] });
    expect(await n2.tryEnqueue('lock-63')).toMatchObject({ state: 'refused' });
    await n1.store.commit({ guards: [held], writes: [], release: [held] });
    expect(await n2.store.place(waiting.ticket)).toMatchObject({ state: 'granted' });
  });

  test('keeps names with odd characters apart', async () => {
    const [n1, n2] = benchOf().clients;
    for (const name of oddNames) {
      const held = await n1.hold(name);
      expect(await n2.store.tickets(name)).toEqual([held]);
      expect(await n2.tryEnqueue(name)).toEqual({ state: 'refused', blockers: [held] });
    }
    expect((await n2.store.tickets()).map(({ locks }) => locks[0]?.name)).toEqual(oddNames);
  });
}
