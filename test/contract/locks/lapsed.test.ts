// A lock whose holder lost it by a lapse and does not unlock it: the real lock manager on a memory store
// behind a network that fails on command; time moves by hand.
import { expect, test } from '@jest/globals';
import { LockLostError } from '../../../lib/lock/errors.ts';
import { deadlineMs, Hosts, ttlMs } from '../bench/hosts.ts';
import { keep, queue, take } from '../bench/manager-bench.ts';

test('F3 a lock that lapsed is free for others as soon as the store is back', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  expect(lock.signal.reason).toBeInstanceOf(LockLostError);
  expect(next.endedAt).toBeUndefined();
  hosts.network.reconnect(); // The store still has the session: the next renewal keeps the ticket.
  await hosts.pass(3_000);
  await (await next.granted).confirm();
  await hosts.pass(ttlMs);
  expect(await hosts.n1.health()).toEqual([]);
});

test('F3 a lock that lapsed stands until its TTL would have passed, so that its holder can stop', async () => {
  await using hosts = new Hosts();
  const lock = await take(hosts.n1, 'db');
  const next = await queue(hosts.n2, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  expect(lock.signal.aborted).toBe(true);
  hosts.network.reconnect();
  await hosts.pass(ttlMs - deadlineMs - 100);
  expect(await hosts.n2.inspect('db')).toHaveLength(2);
  await hosts.pass(200);
  await (await next.granted).confirm();
});

test('F3 a kept lock, and a lock that was attached again, keep their tickets through a lapse', async () => {
  await using hosts = new Hosts();
  const { kept } = keep(await take(hosts.n1, 'kept'), hosts.n1);
  const { ticket } = await take(hosts.n1, 'db');
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  hosts.network.reconnect();
  await hosts.pass(1_000);
  const again = await hosts.n1.attach(ticket);
  await hosts.pass(ttlMs);
  await again?.confirm();
  await kept.confirm();
  expect(kept.state).toBe('held');
});

test('F3 a claim outlives the ticket of a lapsed lock until its holder ends its work', async () => {
  await using hosts = new Hosts();
  const claim = { prefix: 'claims/db/', value: 'n1' };
  const lock = await take(hosts.n1, 'db', { claim });
  const key = claim.prefix + lock.ticket.nonce;
  hosts.network.cutOff();
  await hosts.pass(deadlineMs);
  hosts.network.reconnect();
  await hosts.pass(3_000);
  expect(await hosts.n2.inspect('db')).toEqual([]);
  expect(await hosts.n2.record(key)).toBeDefined();
  await lock.unlock({ claim: key });
  expect(await hosts.n2.record(key)).toBeUndefined();
});
