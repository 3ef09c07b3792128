// When a lock server may say that a lock is held, and when it may unlock one: the real server and the real lock
// manager on a memory store behind a network that fails on command; time moves by hand.
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from '@jest/globals';
import type { LockServer } from '../../../lib/lock/server/listen.ts';
import { serveLocks } from '../../../lib/lock/server/listen.ts';
import { holdByFetch, postJson } from '../../support/lock-client.ts';
import { waitFor } from '../../support/processes.ts';
import { Hosts, ttlMs } from '../bench/hosts.ts';
import { queue, take } from '../bench/manager-bench.ts';

async function serverOf(hosts: Hosts): Promise<LockServer> {
  const { n1: locks, clock } = hosts;
  return serveLocks({ locks, ttlMs, address: '127.0.0.1', port: 0, clock });
}
const eventsOf = (lines: readonly { readonly event?: string }[]) => lines.map(({ event }) => event);

test('a client reads nothing as soon as the lock may end within its time of silence', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  await using holding = await holdByFetch(server.url, 'db');
  expect(await holding.line('granted')).toMatchObject({ maxSilenceMs: 5_000 });
  hosts.network.cutOff();
  await hosts.pass(8_000);
  await holding.line('lost');
  // The lock may end 8 s after the last renewal: `alive` comes after 1.7 s, and not after 3.3 s.
  expect(eventsOf(holding.lines())).toEqual(['granted', 'alive', 'lost']);
});

test('a client reads of its grant when the lock is held for longer than its time of silence', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  const before = await take(hosts.n2, 'db');
  await using waiting = await holdByFetch(server.url, 'db');
  await waiting.line('waiting');
  hosts.network.fail('renewSession', 'lost request', 'lost request');
  await hosts.pass(4_000);
  await before.unlock();
  await hosts.pass(1_000);
  expect((await hosts.n2.inspect('db')).map(({ owner }) => owner)).toEqual(['n1']);
  await (await fetch(`${server.url}/v1/health`)).text();
  expect(eventsOf(waiting.lines())).not.toContain('granted');
  await hosts.pass(1_000);
  await waiting.line('granted');
});

test('a client is asked to end before its lock is released, and the next begins when it has ended', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  await using holding = await holdByFetch(server.url, 'db');
  const { token } = await holding.line('granted');
  const next = await queue(hosts.n2, 'db');
  const released = postJson(`${server.url}/v1/locks/db/release`, { token });
  await holding.line('released');
  await hosts.pass(ttlMs - 100);
  expect(next.endedAt).toBeUndefined();
  holding.close();
  expect((await released).status).toBe(200);
  await (await next.granted).unlock();
});

test('a client that does not close its connection keeps a released lock for the TTL', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  await using holding = await holdByFetch(server.url, 'db');
  const { token } = await holding.line('granted');
  const released = postJson(`${server.url}/v1/locks/db/release`, { token });
  await holding.line('released');
  await hosts.pass(ttlMs);
  expect((await released).status).toBe(200);
  expect(eventsOf(holding.lines())).toEqual(['granted', 'released']);
});

test('a client reads of the end of its longest hold before the next begins', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  await using holding = await holdByFetch(server.url, 'db', { maxHoldMs: 1_000 });
  await holding.line('granted');
  const next = await queue(hosts.n2, 'db');
  await hosts.pass(1_000);
  expect((await holding.line('lost')).message).toContain('its longest hold has passed');
  expect(next.endedAt).toBeUndefined();
  holding.close();
  await waitFor(() => next.endedAt, 10_000, 'the next holder');
  await (await next.granted).unlock();
});

test('a server that stops keeps the lock of a client that is cut off until its time of silence is over', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  await using holding = await holdByFetch(server.url, 'db', { ttlMs: 60_000 });
  await holding.line('granted');
  const next = await queue(hosts.n2, 'db');
  let waitMs = 0;
  const stopped = server.stop(10_000, (ms) => {
    waitMs = ms;
  });
  expect(await holding.line('stopping')).toMatchObject({ graceMs: 30_000 });
  expect(waitMs).toBe(30_000);
  await hosts.pass(29_000);
  expect(next.endedAt).toBeUndefined();
  await hosts.pass(3_000);
  await stopped;
  await (await next.granted).unlock();
  expect(eventsOf(holding.lines()).at(-1)).toBe('lost');
});

test('a client that waits reads five of many holders, and how many more there are', async () => {
  await using hosts = new Hosts();
  await using server = await serverOf(hosts);
  const permit = [{ name: 'db', mode: 'permit', permits: 7 } as const];
  const held = await Promise.all(Array.from({ length: 7 }, () => take(hosts.n2, permit)));
  await using waiting = await holdByFetch(server.url, 'db', { permits: 7 });
  const { holders, more } = await waiting.line('waiting');
  expect({ named: holders?.length, more }).toEqual({ named: 5, more: 2 });
  const other = await postJson(`${server.url}/v1/locks/db`, { permits: 3 });
  expect(other.status).toBe(409);
  expect(await other.json()).toMatchObject({
    error: { code: 'refused', holders: [{ host: 'n2' }] },
  });
  await Promise.all(held.map((lock) => lock.unlock()));
});

test('connections without a request keep nobody out, and end no other', async () => {
  await using hosts = new Hosts();
  const { n1: locks, clock } = hosts;
  const place = { address: '127.0.0.1', port: 0 };
  await using server = await serveLocks({ locks, ttlMs, ...place, clock, maxHolds: 4 });
  await using holding = await holdByFetch(server.url, 'db');
  await holding.line('granted');
  await using stack = new AsyncDisposableStack();
  let open = 0;
  for (let count = 1; count <= 110; count += 1) {
    const socket = connect(Number(new URL(server.url).port), place.address);
    stack.defer(() => void socket.destroy());
    socket.on('error', () => {}); // The server ends it.
    socket.once('close', () => {
      open -= 1;
    });
    await once(socket, 'connect');
    open += 1;
  }
  await waitFor(() => open <= 64, 10_000, 'the oldest connections to end');
  await using next = await holdByFetch(server.url, 'other');
  await next.line('granted');
  expect(await locks.inspect('db')).toHaveLength(1);
});
