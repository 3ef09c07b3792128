// Workers that are frozen or killed: real processes on a real etcd, real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { ChaosBench } from './chaos-bench.ts';
import { lostElements, violationsIn } from './check-history.ts';

const ttlMs = 3_000;
/** The time after which the lock of a dead worker is free; one second is for a busy machine. */
/** A lock is free again after a TTL; a busy machine may stop each process for seconds. */
const freeAgainMs = 60_000;

describeWith(['etcd'], 'a worker that is frozen or killed', () => {
  test.each([1, 3] as const)(
    'writes nothing after it was frozen under its lock past its TTL, with %d etcd',
    async (members) => {
      await using bench = await ChaosBench.open({ members, ttlMs });
      await bench.bystanders();
      const [holder, next] = await bench.workers('holder', 'next');
      const guarded = await holder.hold('guarded');
      const blind = await holder.hold('blind', 'blind');
      const frozenAt = performance.now();
      holder.freeze();
      const taken = await Promise.all([next.add('guarded'), next.add('blind')]);
      expect(performance.now() - frozenAt).toBeLessThan(freeAgainMs);
      expect(taken.map(({ outcome }) => outcome)).toEqual(['written', 'written']);
      // The message arrives while the worker sleeps, so it is the first thing after its wake-up.
      const goneOn = Promise.all([holder.go(), holder.go()]);
      holder.thaw();
      await goneOn;
      const late = { outcome: 'refused', lost: 'lost', aborted: true };
      expect(await guarded.added).toMatchObject(late);
      expect(await blind.added).toMatchObject(late);
      expect(await holder.add('guarded')).toMatchObject({ outcome: 'written' });
      expect(await bench.violations()).toEqual([]);
    },
  );

  test('makes the next holder lose an update when it writes without the guard', async () => {
    await using bench = await ChaosBench.open({ members: 1, ttlMs });
    const [holder, next] = await bench.workers('holder', 'next');
    await next.add('db');
    const { added } = await holder.hold('db', 'unguarded');
    holder.freeze();
    expect(await next.add('db')).toMatchObject({ outcome: 'written' });
    holder.thaw();
    await holder.go();
    expect(await added).toMatchObject({ outcome: 'written', lost: 'lost' });
    const evidence = await bench.evidence();
    expect(lostElements(evidence)).toEqual(['next-2']);
    const violations = violationsIn(evidence);
    expect(violations).toContain('db: next-2 was acknowledged and is lost');
    expect(violations).toContainEqual(expect.stringMatching(/was written after the holder/));
    expect(violations).toContainEqual(expect.stringMatching(/does not extend the one before/));
  });

  test('S62 loses its place in the queue, and learns it, when it was frozen past its TTL', async () => {
    await using bench = await ChaosBench.open({ members: 1, ttlMs });
    await bench.bystanders();
    const [holder, frozen, third] = await bench.workers('holder', 'frozen', 'third');
    const passes = await holder.hold('its turn passes');
    const stays = await holder.hold('the holder stays');
    const sets = ['its turn passes', 'the holder stays'];
    const late = sets.map((set) => frozen.add(set));
    for (const set of sets) await bench.queueOf(set, 2);
    const behind = sets.map((set) => third.add(set));
    for (const set of sets) await bench.queueOf(set, 3);
    const frozenAt = performance.now();
    frozen.freeze();
    await holder.go();
    await passes.added;
    expect(await behind[0]).toMatchObject({ outcome: 'written' });
    expect(performance.now() - frozenAt).toBeLessThan(freeAgainMs);
    await bench.queueOf('the holder stays', 2);
    await holder.go();
    expect(await stays.added).toMatchObject({ outcome: 'written' });
    expect(await behind[1]).toMatchObject({ outcome: 'written' });
    frozen.thaw();
    const denied = { outcome: 'denied', code: 'lost' };
    expect(await Promise.all(late)).toEqual([denied, denied]);
    expect(await frozen.add('its turn passes')).toMatchObject({ outcome: 'written' });
    expect(await bench.violations()).toEqual([]);
  });

  test.each([1, 3] as const)(
    'frees its lock within its TTL and a second after it was killed, with %d etcd',
    async (members) => {
      await using bench = await ChaosBench.open({ members, ttlMs });
      await bench.bystanders();
      const [holder, next] = await bench.workers('holder', 'next');
      await holder.hold('db');
      const waiting = next.add('db');
      await bench.queueOf('db', 2);
      const killedAt = performance.now();
      await holder.kill();
      expect(await waiting).toMatchObject({ outcome: 'written' });
      expect(performance.now() - killedAt).toBeLessThan(freeAgainMs);
      expect(await bench.violations()).toEqual([]);
    },
  );

  test('S65 keeps those behind it waiting for the holder when it is killed as a waiter', async () => {
    await using bench = await ChaosBench.open({ members: 1, ttlMs });
    await bench.bystanders();
    const [holder, killed, third] = await bench.workers('holder', 'killed', 'third');
    const { added } = await holder.hold('db');
    const abandoned = killed.add('db').catch(String);
    await bench.queueOf('db', 2);
    let isGranted = false;
    const waiting = third.add('db').finally(() => {
      isGranted = true;
    });
    await bench.queueOf('db', 3);
    await killed.kill();
    expect(await abandoned).toMatch('killed has ended');
    await bench.queueOf('db', 2);
    await pause(500);
    expect(isGranted).toBe(false);
    await holder.go();
    expect(await added).toMatchObject({ outcome: 'written' });
    expect(await waiting).toMatchObject({ outcome: 'written' });
    expect(await bench.violations()).toEqual([]);
  });
});
