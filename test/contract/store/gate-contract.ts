import { expect, test } from '@jest/globals';
import type { Gate } from '../../../lib/lock/ticket.ts';
import type { BenchOf } from '../bench/store-bench.ts';
import { eventually, exclusive, shared } from '../bench/store-bench.ts';
import { StoreMirror } from '../bench/store-mirror.ts';

function gate(lockName: string, why?: string): Gate {
  const closed = { lockName, host: 'n1', since: '2026-01-02T03:04:05Z' };
  return why === undefined ? closed : { ...closed, why };
}

/** Checks gates: a closed gate stops new grants of its lock and nothing else. */
export function gateContract(benchOf: BenchOf): void {
  test('S23 S26 grants nothing on a closed gate until it is opened, whoever asks', async () => {
    const [n1, n2, n3] = benchOf().clients;
    await n1.store.closeGate(gate('db', 'upgrade'));
    const disabled = { state: 'disabled', gates: [gate('db', 'upgrade')] };
    for (const client of [n1, n2, n3]) {
      for (const lock of [exclusive('db'), shared('db')]) {
        expect(await client.store.enqueue(client.request(lock))).toEqual(disabled);
        expect(await client.store.tryEnqueue(client.request(lock))).toEqual(disabled);
      }
    }
    expect(await n3.store.tickets()).toEqual([]);
    await n3.store.openGate('db');
    expect(await n2.enqueue('db')).toMatchObject({ state: 'granted' });
  });

  test('stops only requests for the lock of the gate', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.store.closeGate(gate('db'));
    for (const other of ['db2', 'd', 'db/x', 'DB']) await n2.hold(other);
    await n2.hold(shared('db3'));
  });

  test('refuses a request for several locks, and names the closed gates among them', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.store.closeGate(gate('b'));
    await n1.store.closeGate(gate('a'));
    const held = await n1.hold('c');
    const closed = { state: 'disabled', gates: [gate('a'), gate('b')] };
    expect(await n2.store.enqueue(n2.request('c', shared('b'), 'd', 'a'))).toEqual(closed);
    expect(await n2.store.tryEnqueue(n2.request('c', 'b', 'd', shared('a')))).toEqual(closed);
    expect(await n2.store.tickets()).toEqual([held]);
  });

  test('S21 S22 closes and opens a gate repeatedly, and keeps who closed it first', async () => {
    const [n1, n2, n3] = benchOf().clients;
    for (let round = 0; round < 3; round += 1) {
      for (let times = 0; times < 10; times += 1) {
        await n1.store.closeGate(gate('a ü/%', `round ${round}, time ${times}`));
      }
      expect(await n3.store.gates()).toEqual([gate('a ü/%', `round ${round}, time 0`)]);
      for (let times = 0; times < 10; times += 1) await n2.store.openGate('a ü/%');
      expect(await n3.store.gates()).toEqual([]);
    }
  });

  test('leaves the holder of the lock alone', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('db', 'other');
    await n2.store.closeGate(gate('db'));
    expect(await n1.store.stands(held)).toBe(true);
    await n1.write(held, 'key', 'value');
    await n1.store.commit({ guards: [], writes: [], release: [held] });
    expect(await n2.store.tickets()).toEqual([]);
    expect(await n1.store.stands(held)).toBe(false);
  });

  test('stops requests that wait already, which keep their place', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const held = await n1.hold('db');
    const first = await n2.queue('db');
    const second = await n3.queue(shared('db'));
    await n1.store.closeGate(gate('db'));
    await n1.store.remove(held);
    for (const [client, ticket] of [
      [n2, first],
      [n3, second],
    ] as const) {
      expect(await client.store.place(ticket)).toEqual({ state: 'disabled', gates: [gate('db')] });
    }
    await n1.store.openGate('db');
    expect(await n2.store.place(first)).toEqual({ state: 'granted', ticket: first });
    expect(await n3.store.place(second)).toMatchObject({ state: 'waiting', blockers: [first] });
    await n2.store.remove(first);
    await n1.store.closeGate(gate('db'));
    await n3.store.remove(second);
    expect(await n3.store.place(second)).toEqual({ state: 'gone' });
    expect(await n3.store.tickets()).toEqual([]);
  });

  test('keeps a gate closed after the session of its closer has ended', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.store.closeGate(gate('db'));
    await n1.store.closeSession(n1.session);
    expect(await n2.store.gates()).toEqual([gate('db')]);
  });

  test('reports closed and opened gates to watchers', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.store.closeGate(gate('before'));
    const mirror = new StoreMirror();
    using _ = n2.store.watch(mirror);
    await eventually(() => expect(mirror.gates).toEqual([gate('before')]));
    const held = await n1.hold('db');
    await n1.store.closeGate(gate('db', 'why'));
    await n1.store.closeGate(gate('db', 'again'));
    await eventually(() => expect(mirror.gates).toEqual([gate('before'), gate('db', 'why')]));
    await n1.store.openGate('before');
    await n1.store.openGate('db');
    await n1.store.openGate('db');
    await n1.store.remove(held);
    await eventually(() => expect(mirror.tickets).toEqual([]));
    expect(mirror.gates).toEqual([]);
    expect(mirror.faults).toEqual([]);
  });

  test('stops a request for 64 locks', async () => {
    const [n1, n2] = benchOf().clients;
    for (const mode of ['exclusive', 'shared'] as const) {
      const locks = Array.from({ length: 64 }, (_, index) => ({ name: `lock ${index}`, mode }));
      const held = await n1.hold(...locks);
      const waiting = await n2.queue(...locks.map(({ name }) => exclusive(name)));
      await n1.store.closeGate(gate('lock 63'));
      expect(await n1.store.stands(held)).toBe(true);
      const disabled = { state: 'disabled', gates: [gate('lock 63')] };
      expect(await n2.store.place(waiting)).toEqual(disabled);
      expect(await n2.store.enqueue(n2.request(...locks))).toEqual(disabled);
      expect(await n2.store.tryEnqueue(n2.request(...locks))).toEqual(disabled);
      await n1.store.openGate('lock 63');
      await n1.store.remove(held);
      expect(await n2.store.place(waiting)).toMatchObject({ state: 'granted' });
      await n2.store.remove(waiting);
    }
    expect(await n1.store.tickets()).toEqual([]);
  });
}
