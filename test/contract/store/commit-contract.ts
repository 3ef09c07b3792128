import { expect, test } from '@jest/globals';
import { GuardLostError, RecordConflictError } from '../../../lib/lock/errors.ts';
import type { BenchOf } from '../bench/store-bench.ts';

/** Checks `commit`: changes of records under guards, and what a repeat finds. */
export function commitContract(benchOf: BenchOf): void {
  test('writes, changes and deletes a record', async () => {
    const [n1, n2] = benchOf().clients;
    const guard = await n1.hold('db');
    expect(await n2.store.record('key')).toBeUndefined();
    const first = await n1.write(guard, 'key', 'one');
    expect(await n2.store.record('key')).toEqual({ key: 'key', value: 'one', revision: first });
    const second = await n1.write(guard, 'key', 'two');
    expect(second).toBeGreaterThan(first);
    expect(await n2.store.record('key')).toEqual({ key: 'key', value: 'two', revision: second });
    await n1.write(guard, 'key', undefined);
    expect(await n2.store.record('key')).toBeUndefined();
  });

  test('keeps keys and values with odd characters', async () => {
    const [n1, n2] = benchOf().clients;
    const guard = await n1.hold('db');
    const keys = ['a/b', 'a', 'a/', 'ü', '%2F', 'a b', 'k'.repeat(300)];
    for (const key of keys) await n1.write(guard, key, `"${key}"\n🔒`);
    for (const key of keys) {
      expect(await n2.store.record(key)).toMatchObject({ key, value: `"${key}"\n🔒` });
    }
  });

  test('writes only at the expected revision; 0 means that the record must not exist', async () => {
    const [n1, n2] = benchOf().clients;
    const guard = await n1.hold('db');
    await expect(n1.write(guard, 'key', 'x', 7)).rejects.toThrow(RecordConflictError);
    const first = await n1.write(guard, 'key', 'one', 0);
    await expect(n2.write(guard, 'key', 'other', 0)).rejects.toMatchObject({ key: 'key' });
    const second = await n2.write(guard, 'key', 'two', first);
    await expect(n1.write(guard, 'key', 'late', first)).rejects.toThrow(RecordConflictError);
    await expect(n1.write(guard, 'key', undefined, first)).rejects.toThrow(RecordConflictError);
    expect(await n1.store.record('key')).toMatchObject({ value: 'two', revision: second });
    await n1.write(guard, 'key', undefined, second);
    await n1.write(guard, 'key', 'again', 0);
  });

  test('defect A15: makes all of a change or nothing of it', async () => {
    const [n1] = benchOf().clients;
    const guard = await n1.hold('db');
    const other = await n1.hold('other');
    const writes = [
      { key: 'a', value: 'new a' },
      { key: 'b', value: 'new b', expectedRevision: 5_000_000 },
    ];
    const change = { guards: [guard], writes, release: [other] };
    await expect(n1.store.commit(change)).rejects.toMatchObject({ key: 'b' });
    expect(await n1.store.record('a')).toBeUndefined();
    expect(await n1.store.place(other)).toMatchObject({ state: 'granted' });
    const fit = writes.map(({ key, value }) => ({ key, value, expectedRevision: 0 }));
    const { revision } = await n1.store.commit({ ...change, writes: fit });
    expect(await n1.store.record('a')).toMatchObject({ value: 'new a', revision });
    expect(await n1.store.record('b')).toMatchObject({ value: 'new b', revision });
    expect(await n1.store.place(other)).toEqual({ state: 'gone' });
    expect(await n1.store.place(guard)).toMatchObject({ state: 'granted' });
  });

  test.each(['guards', 'release'] as const)(
    'S55 changes nothing when one of the %s is gone',
    async (role) => {
      const [n1, n2] = benchOf().clients;
      const [gone, kept] = [await n1.hold('a', 'b'), await n1.hold('c')];
      await n2.store.remove(gone);
      // This ticket has the same place in the queue, but another nonce.
      await n1.hold('a', 'b');
      const change = {
        guards: role === 'guards' ? [kept, gone] : [],
        release: role === 'release' ? [kept, gone] : [kept],
        writes: [{ key: 'key', value: 'late' }],
      };
      await expect(n1.store.commit(change)).rejects.toThrow(GuardLostError);
      expect(await n1.store.record('key')).toBeUndefined();
      expect(await n1.store.place(kept)).toMatchObject({ state: 'granted' });
    },
  );

  test('changes nothing when the session of the guard has been closed', async () => {
    const [n1, n2] = benchOf().clients;
    const guard = await n1.hold('db');
    await n2.store.closeSession(n1.session);
    await expect(n1.write(guard, 'key', 'late')).rejects.toThrow(GuardLostError);
    expect(await n1.store.record('key')).toBeUndefined();
  });

  test('checks the guards of an empty change', async () => {
    const [n1, n2] = benchOf().clients;
    const guard = await n1.hold('db');
    const check = { guards: [guard], writes: [], release: [] };
    await n1.store.commit(check);
    await n2.store.remove(guard);
    await expect(n1.store.commit(check)).rejects.toThrow(GuardLostError);
  });

  test('releases tickets in the same step, so that the next in the queue is granted', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('a', 'b');
    const next = await n2.queue('b');
    const writes = [{ key: 'key', value: 'done', expectedRevision: 0 }];
    await n1.store.commit({ guards: [], writes, release: [held] });
    expect(await n1.store.place(held)).toEqual({ state: 'gone' });
    expect(await n2.store.place(next)).toMatchObject({ state: 'granted' });
    expect(await n2.store.tickets()).toEqual([next]);
  });

  test('resolves a repeated change with the same revision, and changes nothing', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('a');
    const old = await n1.write(held, 'old', 'value');
    const change = {
      guards: [held],
      writes: [
        { key: 'key', value: `by ${held.token}`, expectedRevision: 0 },
        { key: 'key 2', value: `also by ${held.token}` },
        { key: 'old', value: undefined, expectedRevision: old },
      ],
      release: [held],
    };
    const first = await n1.store.commit(change);
    const successor = await n2.hold('a', 'b');
    expect(await n1.store.commit(change)).toEqual(first);
    expect(await n1.store.record('key')).toMatchObject({ revision: first.revision });
    expect(await n2.store.place(successor)).toMatchObject({ state: 'granted' });
    // Only the guard may have been lost since.
    const guarded = { ...change, guards: [successor], release: [] };
    expect(await n1.store.commit(guarded)).toEqual(first);
  });

  test('does not mistake another change for a repeat', async () => {
    const [n1] = benchOf().clients;
    const held = await n1.hold('a');
    await n1.write(held, 'key', 'one', 0);
    await n1.store.remove(held);
    await expect(n1.write(held, 'key', 'two')).rejects.toThrow(GuardLostError);
    const writes = [
      { key: 'key', value: 'one', expectedRevision: 0 },
      { key: 'key 2', value: 'never written', expectedRevision: 0 },
    ];
    const change = { guards: [held], writes, release: [] };
    await expect(n1.store.commit(change)).rejects.toThrow(GuardLostError);
    const other = await n1.hold('b');
    const release = { guards: [held], writes: [{ key: 'key', value: 'one' }], release: [other] };
    await expect(n1.store.commit(release)).rejects.toThrow(GuardLostError);
    expect(await n1.store.tickets()).toEqual([other]);
  });

  test('resolves a repeated change that only releases or only deletes', async () => {
    const [n1] = benchOf().clients;
    const [held, other] = [await n1.hold('a'), await n1.hold('b')];
    const revision = await n1.write(held, 'key', 'value');
    const deletion = {
      guards: [held],
      writes: [{ key: 'key', value: undefined, expectedRevision: revision }],
      release: [],
    };
    await n1.store.commit(deletion);
    await n1.store.commit(deletion);
    const release = { guards: [], writes: [], release: [held] };
    await n1.store.commit(release);
    await n1.store.commit(release);
    expect(await n1.store.tickets()).toEqual([other]);
  });

  test('S50 makes one of 20 concurrent changes that expect the same revision', async () => {
    const { clients } = benchOf();
    const guards = await Promise.all(clients.map((client, index) => client.hold(`lock-${index}`)));
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, async (_, index) => {
        const [client, guard] = [clients[index % 3], guards[index % 3]];
        if (client === undefined || guard === undefined) throw new Error('three of each');
        return client.write(guard, 'key', `value ${index}`, 0);
      }),
    );
    const made = outcomes.filter(({ status }) => status === 'fulfilled');
    expect(made).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(RecordConflictError);
    }
    const record = await clients[0].store.record('key');
    expect(record?.value).toBe(
      `value ${outcomes.findIndex(({ status }) => status === 'fulfilled')}`,
    );
  });
}
