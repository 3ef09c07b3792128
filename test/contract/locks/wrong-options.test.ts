// Mistakes that JavaScript lets a caller write, in each call of the public interface: each is refused, and the message
// names the mistake and what exists.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { OpenedLocks } from '../../../lib/lock/index.ts';
import { JobLock, LockPool, noopLocks, openLocks } from '../../../lib/lock/index.ts';

let locks: OpenedLocks;
beforeEach(async () => {
  locks = await openLocks('memory:');
});
afterEach(async () => {
  await locks.close();
});

/** Hides from the compiler what is wrong, as in a program without types. */
// biome-ignore lint/suspicious/noExplicitAny: the mistakes are those that types would show.
const untyped = (value: unknown): any => value;

async function expectRefusal(call: () => unknown, message: string | RegExp): Promise<void> {
  const error = await (async () => call())().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RangeError);
  expect(String(error)).toMatch(message);
}

describe('the names of locks', () => {
  test.each<[unknown, RegExp]>([
    [{ name: 'db', mode: 'exclusiv' }, /lock db needs a mode.*"exclusiv" is none/],
    [{ name: 'db', mode: 'read' }, /"read" is none/],
    [{ name: 'db', mode: 1 }, /the option mode of a lock is a text, not 1/],
    [{ name: 'db' }, /lock db needs a mode, exclusive or shared, or permits.*it has none/],
    [{ name: 'db', mode: undefined }, /it has none/],
    [{ name: 'db', permit: 3 }, /a lock has no option permit; it has mode, name, permits/],
    [{ name: 'db', permits: '3' }, /the option permits of a lock is a number, not "3"/],
    [{ name: 'db', permits: null }, /is a number, not null/],
    [{ name: 'db', mode: 'shared', permits: 3 }, /can't be shared and have permits/],
    [{ name: 7, mode: 'shared' }, /the option name of a lock is a text, not 7/],
    [{ mode: 'shared' }, /the name of a lock is a text, not undefined/],
    [{ name: '', mode: 'shared' }, /needs a name/],
    [['db', undefined], /a lock takes its options as an object, not undefined/],
    [7, /not 7/],
  ])('%j is refused', async (names, message) => {
    for (const by of [locks, noopLocks()]) {
      await expectRefusal(() => by.lock(untyped(names)), message);
      await expectRefusal(() => by.tryLock(untyped(names)), message);
      await expectRefusal(() => by.withLock(untyped(names), async () => 'done'), message);
    }
    expect(await locks.list()).toEqual([]);
  });

  test('are texts also where one name is asked for', async () => {
    const calls = [
      () => locks.disable(untyped(7)),
      () => locks.enable(untyped(undefined)),
      () => locks.inspect(untyped({ name: 'db' })),
      () => locks.record(untyped(null)),
      () => locks.leader(untyped(undefined), async () => 'done'),
    ];
    for (const call of calls) await expectRefusal(call, /text/);
  });
});

describe('the options of a request', () => {
  test.each<[unknown, RegExp]>([
    [{ timeout: 5_000 }, /a request has no option timeout; it has claim, .*, timeoutMs, ttlMs/],
    [{ timeoutMS: 5_000 }, /no option timeoutMS/],
    [{ ttl: 5_000 }, /no option ttl;/],
    [{ constructor: 1 }, /no option constructor/],
    [{ timeoutMs: '5000' }, /the option timeoutMs of a request is a number, not "5000"/],
    [{ ttlMs: '5000' }, /the option ttlMs of a request is a number/],
    [{ maxHoldMs: null }, /the option maxHoldMs of a request is a number, not null/],
    [{ reason: 7 }, /the option reason of a request is a text, not 7/],
    [{ reason: new Error('why') }, /is a text, not an object/],
    [{ holder: ['n1'] }, /is a text, not a list/],
    [{ signal: new AbortController() }, /is an AbortSignal, not an object/],
    [{ onWait: 'print' }, /the option onWait of a request is a function, not "print"/],
    [{ freesSpace: 'yes' }, /is true or false, not "yes"/],
    [{ claim: 'c' }, /the option claim of a request is an object/],
    [5_000, /a request takes its options as an object, not 5000/],
    [null, /not null/],
  ])('%p are refused', async (options, message) => {
    for (const by of [locks, noopLocks()]) {
      await expectRefusal(() => by.lock('db', untyped(options)), message);
      await expectRefusal(() => by.withLock('db', untyped(options), async () => 'done'), message);
    }
    expect(await locks.list()).toEqual([]);
  });

  test('that are undefined count as left out', async () => {
    const left = untyped({ timeoutMs: undefined, reason: undefined, unknown: undefined });
    await using lock = await locks.lock('db', left);
    expect(lock.ticket.holder.reason).toMatch(/process/);
  });

  test('that are for waiting are refused by a request that does not wait', async () => {
    const wait = /a request that does not wait has no option timeoutMs/;
    await expectRefusal(() => locks.tryLock('db', untyped({ timeoutMs: 5_000 })), wait);
    await expectRefusal(() => noopLocks().tryLock('db', untyped({ timeoutMs: 5_000 })), wait);
  });

  test('come before the work, and there is work', async () => {
    const work = async () => 'done';
    const swapped = /a request takes its options as an object|the work under a lock is a function/;
    await expectRefusal(() => locks.withLock('db', untyped(work), untyped({})), swapped);
    await expectRefusal(() => locks.withLock('db', untyped({ timeoutMs: 0 })), swapped);
    await expectRefusal(
      () => locks.leader('db', untyped({})),
      /the work of a leader is a function/,
    );
  });

  test('of an exclusive lock win over other numbers of permits, in any order', async () => {
    const names = [{ name: 'a', permits: 2 }, { name: 'a', permits: 3 }, 'a'];
    await using lock = await locks.lock(names);
    expect(lock.ticket.locks).toEqual([{ name: 'a', mode: 'exclusive' }]);
  });
});

test('a guarded write has no options but its own', async () => {
  await using lock = await locks.lock('db');
  const write = { key: 'r', value: '1' };
  const calls: readonly [() => Promise<void>, RegExp][] = [
    [() => lock.guard(untyped([{ ...write, expectedRevison: 0 }])), /no option expectedRevison/],
    [() => lock.guard(untyped([{ key: 'r', vlaue: '1' }])), /no option vlaue/],
    [() => lock.guard(untyped([{ key: 'r', value: 1 }])), /value of a write is a text, not 1/],
    [() => lock.guard(untyped(write)), /what a guard writes is a list, not an object/],
    [() => lock.guard([write], untyped({ unlocks: true })), /a guard has no option unlocks/],
    [() => lock.guard([write], untyped(true)), /a guard takes its options as an object/],
  ];
  for (const [call, message] of calls) await expectRefusal(call, message);
  expect(await locks.record('r')).toBeUndefined();
});

test('the opening and closing of locks have no options but their own', async () => {
  const places: readonly [unknown, RegExp][] = [
    [undefined, /openLocks needs an address.*not undefined/],
    [{}, /openLocks needs an address/],
    [{ etcd: {}, prefx: '/a' }, /the place of locks has no option prefx/],
    [{ etcd: {}, schema: 'a' }, /a place of locks with etcd has no option schema/],
    [{ pool: {}, etcd: {} }, /not several/],
  ];
  for (const [place, message] of places) {
    await expectRefusal(() => openLocks(untyped(place)), message);
  }
  const options: readonly [unknown, RegExp][] = [
    [{ ttl: 5_000 }, /openLocks has no option ttl; it has .*ttlMs/],
    [{ ttlMs: '5000' }, /the option ttlMs of openLocks is a number/],
    [{ host: 7 }, /host of openLocks is a text, not 7/],
  ];
  for (const [given, message] of options) {
    await expectRefusal(() => openLocks('memory:', untyped(given)), message);
  }
  const closing = /the closing of locks has no option kept/;
  await expectRefusal(() => locks.close(untyped({ kept: true })), closing);
  await expectRefusal(
    () => locks.disable('db', untyped({ reason: 'upgrade' })),
    /no option reason/,
  );
  await expectRefusal(() => noopLocks(untyped({ hosts: 'a' })), /has no option hosts/);
});

test('pools and jobs have no options but their own', async () => {
  const pool = new LockPool(locks, { name: 'p', capacity: 2 });
  const jobs = new JobLock(locks, { component: 'c', componentId: 'n1' });
  const calls: readonly [() => unknown, RegExp][] = [
    [() => pool.allocate('a', untyped({ lease: true })), /no option lease; .*leased/],
    [() => pool.allocate('a', untyped({ leased: 'yes' })), /leased .* is true or false/],
    [() => pool.claim(1, 'a', untyped({ timeout: 1 })), /no option timeout/],
    [() => pool.free(1, untyped({ forced: true })), /no option forced/],
    [() => pool.freeAll(untyped({ forced: true })), /no option forced/],
    [() => pool.renumber(['a'], untyped({ force: true })), /no option force/],
    [() => new LockPool(locks, untyped({ name: 'p', size: 2 })), /a lock pool has no option size/],
    [
      () => jobs.lock(untyped({ job: 'j', jobId: '1', maxDuration: 5 })),
      /a run of a job has no option maxDuration/,
    ],
  ];
  for (const [call, message] of calls) await expectRefusal(call, message);
  expect(await pool.available()).toBe(2);
  expect(await locks.list()).toEqual([]);
});

describe('what is no mistake', () => {
  test('a write that is made from the record that was read', async () => {
    const lock = await locks.lock('db');
    await lock.guard([{ key: 'key', value: 'one' }]);
    const record = await locks.record('key');
    const next = { ...untyped(record), value: 'two', expectedRevision: record?.revision };
    await lock.guard([next], { unlock: true });
    expect(await locks.record('key')).toMatchObject({ value: 'two' });
  });

  test('a client that is undefined beside the one that is given', async () => {
    const place = { store: undefined, pool: undefined, etcd: { endpoints: ['127.0.0.1:1'] } };
    await using opened = await openLocks(untyped(place));
    await expect(opened.list()).rejects.toThrow(/^etcd does not answer/);
    await expectRefusal(() => openLocks(untyped({ store: undefined })), /not one without them/);
  });
});
