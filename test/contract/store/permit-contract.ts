import { expect, test } from '@jest/globals';
import { PermitsDifferError } from '../../../lib/lock/errors.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { BenchOf } from '../bench/store-bench.ts';
import { exclusive, permit, shared } from '../bench/store-bench.ts';

/** Checks permits: how many are granted at once, in which order, and beside which other locks. */
export function permitContract(benchOf: BenchOf): void {
  test('grants as many permits as a lock has, and the next when one of them is back', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const first = await n1.hold(permit('pool'));
    const second = await n2.enqueue(permit('pool'));
    expect(second.state).toBe('granted');
    expect(second.ticket.token).toBeGreaterThan(first.token);
    const blockers = [first, second.ticket];
    expect(await n3.tryEnqueue(permit('pool'))).toEqual({ state: 'refused', blockers });
    const third = await n3.enqueue(permit('pool'));
    expect(third).toMatchObject({ state: 'waiting', blockers });
    expect(await n3.store.place(third.ticket)).toMatchObject({ state: 'waiting', blockers });
    expect(await n3.store.stands(third.ticket)).toBe(false);
    await n2.store.remove(second.ticket);
    expect(await n3.store.place(third.ticket)).toEqual({ state: 'granted', ticket: third.ticket });
    for (const ticket of [first, third.ticket]) expect(await n1.store.stands(ticket)).toBe(true);
    expect(await n2.tryEnqueue(permit('pool'))).toMatchObject({ state: 'refused' });
  });

  test('keeps the number of permits with the ticket', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold(permit('pool', 7), 'db');
    expect(held.locks).toEqual([permit('pool', 7), exclusive('db')]);
    for (const name of ['pool', 'db']) expect(await n2.store.tickets(name)).toEqual([held]);
    expect(await n2.store.tickets()).toEqual([held]);
  });

  test('grants permits in the order of the requests', async () => {
    const { clients } = benchOf();
    const tickets: Ticket[] = [];
    for (let index = 0; index < 8; index += 1) {
      const client = clients[index % 3] ?? clients[0];
      tickets.push((await client.enqueue(permit('pool', 3))).ticket);
    }
    const { store } = clients[0];
    for (let held = 0; held < tickets.length; held += 1) {
      // Three hold, and of those who wait none overtakes another.
      const states = await Promise.all(tickets.slice(held).map((ticket) => store.place(ticket)));
      const expected = states.map((_, index) => (index < 3 ? 'granted' : 'waiting'));
      expect(states.map(({ state }) => state)).toEqual(expected);
      const fourth = states[3];
      if (fourth?.state === 'waiting') {
        expect(fourth.blockers).toEqual(tickets.slice(held, held + 3));
      }
      const last = states.at(-1);
      if (last?.state === 'waiting') expect(last.blockers).toEqual(tickets.slice(-4, -1));
      const removed = tickets[held];
      if (removed) await store.remove(removed);
    }
  });

  test('gives a place to the next when a request gives up, and not to one behind it', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const held = await n1.hold(permit('pool', 1));
    const second = await n2.queue(permit('pool', 1));
    const third = await n3.queue(permit('pool', 1));
    await n2.store.remove(second);
    expect(await n3.store.place(third)).toMatchObject({ state: 'waiting', blockers: [held] });
    await n1.store.remove(held);
    expect(await n3.store.place(third)).toMatchObject({ state: 'granted' });
  });

  test('a permit waits for an exclusive and a shared lock, and these for it, in their order', async () => {
    const [n1, n2, n3] = benchOf().clients;
    for (const other of [exclusive('pool'), shared('pool')]) {
      const one = await n1.hold(permit('pool'));
      const two = await n2.hold(permit('pool'));
      expect(await n3.tryEnqueue(other)).toEqual({ state: 'refused', blockers: [two] });
      const between = await n3.enqueue(other);
      expect(between).toMatchObject({ state: 'waiting', blockers: [two] });
      await n2.store.remove(two);
      expect(await n3.store.place(between.ticket)).toMatchObject({ blockers: [one] });
      // One permit is free, but the other request came first.
      const refused = { state: 'refused', blockers: [between.ticket] };
      expect(await n2.tryEnqueue(permit('pool'))).toEqual(refused);
      const late = await n2.enqueue(permit('pool'));
      expect(late).toMatchObject({ state: 'waiting', blockers: [between.ticket] });
      await n1.store.remove(one);
      expect(await n3.store.place(between.ticket)).toMatchObject({ state: 'granted' });
      expect(await n2.store.place(late.ticket)).toMatchObject({ state: 'waiting' });
      await n3.store.remove(between.ticket);
      expect(await n2.store.place(late.ticket)).toMatchObject({ state: 'granted' });
      await n2.store.remove(late.ticket);
    }
  });

  test('names the other lock and the permits that are in the way', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const held = [await n1.hold(permit('pool', 1))];
    held.push(await n2.queue(exclusive('pool')));
    held.push(await n3.queue(permit('pool', 1)));
    const blockers = [held[1], held[2]];
    expect(await n1.enqueue(permit('pool', 1))).toMatchObject({ state: 'waiting', blockers });
  });

  test('refuses a request with another number of permits, and names both and who has one', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold(permit('pool', 3));
    const refused = expect.objectContaining({
      code: 'refused',
      lockName: 'pool',
      asked: 5,
      standing: 3,
      ticket: held,
      message: expect.stringMatching(
        /^pool has 3 permits, and this request says 5: .* by host n1 \(Mount, since .*, token \d+, .*\); say 3, or change/,
      ),
    });
    for (const ask of ['enqueue', 'tryEnqueue'] as const) {
      const request = n2.request('db', permit('pool', 5));
      await expect(n2.store[ask](request)).rejects.toThrow(PermitsDifferError);
      await expect(n2.store[ask](request)).rejects.toEqual(refused);
    }
    const waiting = await n2.queue(exclusive('pool'));
    await expect(n2.enqueue(permit('pool', 2))).rejects.toThrow(PermitsDifferError);
    expect(await n1.store.tickets()).toEqual([held, waiting]);
    await n1.store.remove(held);
    // Nobody has a permit or waits for one: the number may change.
    expect(await n1.enqueue(permit('pool', 5))).toMatchObject({ state: 'waiting' });
    await n2.store.remove(waiting);
    expect(await n2.tryEnqueue(permit('pool', 5))).toMatchObject({ state: 'granted' });
  });

  test('a repeat of a request answers for the ticket of the first call', async () => {
    const [n1, n2] = benchOf().clients;
    const requests = [1, 2, 3].map(() => n1.request(permit('pool')));
    const answers: unknown[] = [];
    for (const request of requests) answers.push(await n1.store.enqueue(request));
    expect(answers).toMatchObject([
      { state: 'granted' },
      { state: 'granted' },
      { state: 'waiting' },
    ]);
    for (const [index, request] of requests.entries()) {
      const { state } = await n1.store.enqueue(request);
      expect(state).toBe(index < 2 ? 'granted' : 'waiting');
    }
    expect(await n1.store.tryEnqueue(n2.request(permit('pool')))).toMatchObject({
      state: 'refused',
    });
    expect(await n2.store.tickets('pool')).toHaveLength(3);
    const [first] = requests;
    if (first) expect(await n1.store.tryEnqueue(first)).toMatchObject({ state: 'granted' });
    if (first) await n1.store.remove(first);
    expect(await n2.store.tickets('pool')).toHaveLength(2);
  });

  test('takes permits of several locks in one step, and all of them or none', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const a = await n1.hold(permit('a'), permit('b', 1));
    await n2.hold(permit('a'), 'c');
    expect(await n3.tryEnqueue(permit('b', 1), 'd')).toEqual({ state: 'refused', blockers: [a] });
    const both = await n3.enqueue(permit('a'), permit('b', 1), 'd');
    expect(both).toMatchObject({ state: 'waiting' });
    await n1.store.commit({ guards: [a], writes: [], release: [a] });
    expect(await n3.store.place(both.ticket)).toMatchObject({ state: 'granted' });
    const sixteen = Array.from({ length: 16 }, (_, index) => permit(`many-${index}`));
    const held = [await n1.hold(...sixteen), await n2.hold(...sixteen)];
    expect(await n3.tryEnqueue(...sixteen)).toEqual({ state: 'refused', blockers: held });
    const waiting = await n3.queue(...sixteen);
    for (const ticket of held) await n1.store.remove(ticket);
    expect(await n3.store.place(waiting)).toMatchObject({ state: 'granted' });
    expect(await n3.store.stands(waiting)).toBe(true);
  });

  test('grants no more permits than there are to many concurrent tries', async () => {
    const { clients } = benchOf();
    const tries = Array.from({ length: 12 }, (_, index) => {
      const client = clients[index % 3] ?? clients[0];
      return client.tryEnqueue(permit('pool', 3));
    });
    const answers = await Promise.all(tries);
    expect(answers.filter(({ state }) => state === 'granted')).toHaveLength(3);
    expect(await clients[0].store.tickets('pool')).toHaveLength(3);
  });

  test('grants nobody a permit of a disabled lock, and leaves it to its holders', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const held = await n1.hold(permit('pool'));
    await n1.store.closeGate({ lockName: 'pool', host: 'n1', since: '2026-01-02T03:04:05Z' });
    for (const ask of ['enqueue', 'tryEnqueue'] as const) {
      const answer = await n2.store[ask](n2.request(permit('pool')));
      expect(answer).toMatchObject({ state: 'disabled' });
    }
    expect(await n3.store.stands(held)).toBe(true);
    await n1.store.openGate('pool');
    expect(await n2.tryEnqueue(permit('pool'))).toMatchObject({ state: 'granted' });
  });
}
