// When a lock server may say that a lock is held, and when it may unlock one: the real server and the real lock
// manager on a memory store behind a network that fails on command; time moves by hand.
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
