import { expect, test } from '@jest/globals';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { BenchOf, Client } from '../bench/store-bench.ts';
import {
  clientOf,
  enabled,
  eventually,
  exclusive,
  recordsOf,
  shared,
} from '../bench/store-bench.ts';
import { StoreMirror } from '../bench/store-mirror.ts';

const recordKeys = ['r0', 'r1', 'r2', 'r3'];

/** Checks `watch`: a watcher sees the whole state once, then every change in order. */
export function watchContract(benchOf: BenchOf): void {
  test('sends the whole state at one revision first, and not within the call', async () => {
    const [n1, n2] = benchOf().clients;
    const ticket = await n1.hold('a', shared('b'));
    const waiting = await n2.queue('a');
    const revision = await n1.write(ticket, 'key', 'value');
    const mirror = new StoreMirror();
    using _ = n2.store.watch(mirror);
    expect(mirror.events).toEqual([]);
    await eventually(() => expect(mirror.events).toEqual(['reset']));
    expect(mirror.revision).toBeGreaterThanOrEqual(revision);
    expect(mirror.tickets).toEqual([ticket, waiting]);
    expect(mirror.records).toEqual([{ key: 'key', value: 'value', revision }]);
  });

  test('sends each change of any client once and in order', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const mirror = new StoreMirror();
    using _ = n1.store.watch(mirror);
    const held = await n2.hold('a');
    await eventually(() => expect(mirror.tickets).toEqual([held]));
    const waiting = await n3.queue('a', 'b');
    await eventually(() => expect(mirror.tickets).toEqual([held, waiting]));
    const revision = await n2.write(held, 'key', 'value');
    await eventually(() =>
      expect(mirror.records).toEqual([{ key: 'key', value: 'value', revision }]),
    );
    expect(mirror.revision).toBe(revision);
    const writes = [{ key: 'key', value: undefined }];
    await n2.store.commit({ guards: [], writes, release: [held] });
    await eventually(() => expect(mirror.tickets).toEqual([waiting]));
    expect(mirror.records).toEqual([]);
    await n3.hold('c');
    await n3.store.closeSession(n3.session);
    await eventually(() => expect(mirror.tickets).toEqual([]));
    expect(mirror.events.filter((event) => event !== 'change')).toEqual(['reset']);
    expect(mirror.faults).toEqual([]);
  });

  test('reports a successor in the same place as another ticket', async () => {
    const [n1] = benchOf().clients;
    const mirror = new StoreMirror();
    using _ = n1.store.watch(mirror);
    await n1.store.remove(await n1.hold('a'));
    const successor = await n1.hold('a');
    await eventually(() => expect(mirror.tickets).toEqual([successor]));
    expect(mirror.faults).toEqual([]);
  });

  test('reports nothing of refused or repeated requests', async () => {
    const [n1, n2] = benchOf().clients;
    const mirror = new StoreMirror();
    using _ = n1.store.watch(mirror);
    const request = n1.request('a');
    const { ticket } = enabled(await n1.store.enqueue(request));
    await n1.store.enqueue(request);
    await n2.tryEnqueue('a');
    await n2.store.remove(n2.request('a'));
    await n2.write(ticket, 'key', 'x', 99_999_999).catch(() => 'expected');
    const last = await n2.hold('end');
    await eventually(() => expect(mirror.tickets).toEqual([ticket, last]));
    expect(mirror.records).toEqual([]);
    expect(mirror.faults).toEqual([]);
  });

  test('reports nothing after the watch was disposed of', async () => {
    const [n1] = benchOf().clients;
    const [ended, kept] = [new StoreMirror(), new StoreMirror()];
    const watch = n1.store.watch(ended);
    using _ = n1.store.watch(kept);
    await eventually(() => expect(ended.events).toEqual(['reset']));
    watch[Symbol.dispose]();
    watch[Symbol.dispose]();
    await n1.hold('a');
    await eventually(() => expect(kept.tickets).toHaveLength(1));
    expect(ended.events).toEqual(['reset']);
  });

  test('reports nothing more when a watcher ends the watch within a report', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const [ended, kept] = [new StoreMirror(), new StoreMirror()];
    using _ = n1.store.watch(kept);
    const watch = n1.store.watch({
      reset: (state) => ended.reset(state),
      interrupted: () => ended.interrupted(),
      resumed: () => ended.resumed(),
      change: (change) => {
        ended.change(change);
        watch[Symbol.dispose]();
      },
    });
    await eventually(() => expect(ended.events).toEqual(['reset']));
    for (const name of ['a', 'b', 'c', 'd']) await n2.hold(name);
    await n3.hold('e');
    await eventually(() => expect(kept.tickets).toHaveLength(5));
    // The two watches of a store may run apart: the other may have reported the first change later.
    await eventually(() => expect(ended.events).toContain('change'));
    expect(ended.events).toEqual(['reset', 'change']);
  });

  test('reports nothing at all when the watch is disposed of at once', async () => {
    const [n1] = benchOf().clients;
    const [ended, kept] = [new StoreMirror(), new StoreMirror()];
    n1.store.watch(ended)[Symbol.dispose]();
    using _ = n1.store.watch(kept);
    await eventually(() => expect(kept.events).toEqual(['reset']));
    expect(ended.events).toEqual([]);
  });

  test('leads watchers to the final state of 200 operations, also when they start midway', async () => {
    const { clients } = benchOf();
    const [{ store }] = clients;
    const mirrors = [new StoreMirror(), new StoreMirror(), new StoreMirror(), new StoreMirror()];
    using stack = new DisposableStack();
    for (const [index, client] of clients.entries()) {
      stack.use(client.store.watch(mirrors[index] ?? new StoreMirror()));
    }
    const runs = clients.map((client, index) => operate(client, random(index + 1), 34));
    await Promise.all(runs);
    stack.use(store.watch(mirrors[3] ?? new StoreMirror()));
    await Promise.all(clients.map((client, index) => operate(client, random(index + 11), 34)));
    const [tickets, records] = [await store.tickets(), await recordsOf(store, recordKeys)];
    for (const mirror of mirrors) {
      await eventually(() => {
        expect(mirror.tickets).toEqual(tickets);
        expect(mirror.records).toEqual(records);
      });
      expect(mirror.faults).toEqual([]);
      expect(mirror.events.filter((event) => event !== 'change')).toEqual(['reset']);
    }
  });
}

/** Queues, removes, commits and opens new sessions at random, one after another. */
async function operate(start: Client, next: () => number, count: number): Promise<void> {
  let client = start;
  const tickets: Ticket[] = [];
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(next() * from.length)];
  for (let index = 0; index < count; index += 1) {
    const locks = ['a', 'b', 'c', 'd']
      .filter(() => next() < 0.4)
      .map((name) => (next() < 0.5 ? shared(name) : exclusive(name)));
    const dice = next();
    const ticket = pick(tickets);
    if (dice < 0.03) {
      if (client !== start) await client.store.closeSession(client.session);
      client = await clientOf(start.store, start.host);
      tickets.length = 0;
    } else if (dice < 0.4 && locks.length > 0) {
      tickets.push((await client.enqueue(...locks)).ticket);
    } else if (dice < 0.5 && locks.length > 0) {
      const answer = await client.tryEnqueue(...locks);
      if (answer.state === 'granted') tickets.push(answer.ticket);
    } else if (ticket !== undefined && dice < 0.75) {
      tickets.splice(tickets.indexOf(ticket), 1);
      await client.store.remove(ticket);
    } else if (ticket !== undefined) {
      const isLast = next() < 0.2;
      if (isLast) tickets.splice(tickets.indexOf(ticket), 1);
      const value = next() < 0.2 ? undefined : `${ticket.token} ${index} ${next()}`;
      const writes = [{ key: pick(recordKeys) ?? 'r0', value }];
      await client.store.commit({ guards: [ticket], writes, release: isLast ? [ticket] : [] });
    }
  }
}

/** The mulberry32 generator, so that a failing run can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
