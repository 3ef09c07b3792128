// The locks in the admin API: listing, holding and clearing, over a real socket; two hosts on a
// memory store.

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Lock } from '../../../../lib/lock/lock.ts';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { claimPrefix } from '../../../../lib/volumes/records/claims.ts';
import type { AdminSocket } from '../../../support/admin-socket.ts';
import { openAdminSocket } from '../../../support/admin-socket.ts';
import { eventually } from '../../../support/eventually.ts';
import { leaveUncleanEnd, lockWithClaim } from '../../../support/unclean-end.ts';

let socket: AdminSocket;

beforeEach(async () => {
  socket = await openAdminSocket();
  const { signal } = new AbortController();
  await socket.volumes.create({ name: 'db', options: {} }, { signal });
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

function mountOn(manager: LockManager): Promise<Lock> {
  return manager.lock([{ name: 'mount/db', mode: 'exclusive' }], {
    reason: 'Mount',
    detail: 'web',
  });
}

async function tickets(path = '/v1/locks'): Promise<unknown> {
  const { body } = await socket.call('GET', path);
  return body;
}

const held = (lock: Lock) => ({
  token: lock.token,
  host: 'n2',
  reason: 'Mount',
  since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  detail: 'web',
});

test('the list shows holders and waiters', async () => {
  await using lock = await mountOn(socket.n2);
  const { events, leave } = socket.stream('/v1/locks/db/hold', { detail: 'fsck' });
  expect((await events.next()).value).toEqual({ event: 'waiting', holders: [held(lock)] });
  const mount = { volume: 'db', facet: 'mount', mode: 'exclusive' };
  await eventually(async () =>
    expect(await tickets('/v1/locks/db')).toEqual({
      tickets: [
        { ...held(lock), state: 'held', uses: [mount] },
        expect.objectContaining({
          host: 'n1',
          reason: 'Maintenance',
          detail: 'fsck',
          state: 'waiting',
          uses: [mount, { ...mount, facet: 'snapshot' }],
        }),
      ],
      gates: [],
    }),
  );
  expect(await tickets('/v1/locks/other')).toEqual({ tickets: [], gates: [] });
  expect((await socket.call('GET', '/v1/status')).body).toMatchObject({
    locks: { held: 1, waiting: 1 },
  });
  leave();
  await eventually(async () =>
    expect(await tickets()).toEqual({
      tickets: [expect.objectContaining({ host: 'n2' })],
      gates: [],
    }),
  );
});

test('a hold lasts as long as its request', async () => {
  const { events, leave } = socket.stream('/v1/locks/db/hold', {});
  expect((await events.next()).value).toEqual({ event: 'held', token: expect.any(Number) });
  const other = mountOn(socket.n2);
  await eventually(async () =>
    expect(await tickets()).toMatchObject({
      tickets: [
        { reason: 'Maintenance', state: 'held' },
        { reason: 'Mount', state: 'waiting' },
      ],
    }),
  );
  leave();
  await (await other).unlock();
});

test('a hold whose lock is lost ends with an error', async () => {
  const { events } = socket.stream('/v1/locks/db/hold', {});
  await events.next();
  const [ticket] = await socket.n2.inspect('mount/db');
  if (ticket) await socket.n2.breakLock(ticket);
  expect((await events.next()).value).toMatchObject({ event: 'error', code: 'lost' });
  expect((await events.next()).done).toBe(true);
});

test('a hold ends when the daemon stops', async () => {
  const { events } = socket.stream('/v1/locks/db/hold', {});
  await events.next();
  socket.stopping.abort();
  expect((await events.next()).value).toMatchObject({ event: 'error', code: 'unavailable' });
  await eventually(async () => expect(await socket.n2.inspect('mount/db')).toEqual([]));
});

test('a single try on a held lock is a conflict that names the holder', async () => {
  await using lock = await mountOn(socket.n2);
  expect(await socket.call('POST', '/v1/locks/db/hold', { timeoutMs: 0 })).toEqual({
    status: 409,
    body: {
      error: {
        code: 'contended',
        message: expect.stringMatching(/held: host n2 \(Mount, since .*, token \d+, web\)/),
        holders: [held(lock)],
      },
    },
  });
  expect(await socket.n2.inspect('snapshot/db')).toEqual([]);
});

test('a waiting hold fails at its time limit', async () => {
  await using _lock = await mountOn(socket.n2);
  const { events } = socket.stream('/v1/locks/db/hold', { timeoutMs: 50 });
  await events.next();
  expect((await events.next()).value).toMatchObject({ event: 'error', code: 'timeout' });
});

test('the lock of a living holder is cleared only by force', async () => {
  const lock = await mountOn(socket.n2);
  const { token } = lock;
  const refused = await socket.call('POST', '/v1/locks/db/clear', { token });
  expect(refused).toMatchObject({
    status: 409,
    body: { error: { code: 'refused', holders: [{ host: 'n2', token }] } },
  });
  lock.throwIfLost();
  const cleared = await socket.call('POST', '/v1/locks/db/clear', { token, force: true });
  expect(cleared).toMatchObject({ status: 200, body: { cleared: { host: 'n2', token } } });
  await eventually(() => expect(lock.signal.aborted).toBe(true));
});

test('an unknown token is refused, even with force', async () => {
  await using lock = await mountOn(socket.n2);
  const body = { token: lock.token + 1, force: true };
  expect(await socket.call('POST', '/v1/locks/db/clear', body)).toMatchObject({
    status: 409,
    body: { error: { code: 'refused', holders: [{ token: lock.token }] } },
  });
  lock.throwIfLost();
});

test.each<[path: string, body: unknown, status: number, message: RegExp]>([
  ['/v1/locks/db/clear', undefined, 400, /the body is not JSON/],
  ['/v1/locks/db/clear', {}, 400, /token: expected number/],
  ['/v1/locks/db/clear', { token: '7' }, 400, /token: expected number/],
  ['/v1/locks/db/clear', { token: 1.5 }, 400, /token: expected int/],
  ['/v1/locks/db/clear', { token: 7, forced: true }, 400, /"forced"/],
  ['/v1/locks/..%2Fdb/clear', { token: 7 }, 400, /not a valid volume name/],
  ['/v1/locks/nope/hold', {}, 404, /^no such volume: nope$/],
  ['/v1/locks/db/hold', { timeout: 1 }, 400, /"timeout"/],
  ['/v1/locks/db/hold', { timeoutMs: -1 }, 400, /timeoutMs: /],
  ['/v1/locks/db/hold', { detail: 'x'.repeat(201) }, 400, /detail: /],
])('%s %j answers %d', async (path, body, status, message) => {
  const answer = await socket.call('POST', path, body);
  expect(answer.status).toBe(status);
  expect(answer.body).toMatchObject({ error: { message: expect.stringMatching(message) } });
});

describe('a host that did not end its Mount', () => {
  const gone = (body: object) => socket.call('POST', '/v1/locks/db/gone', body);

  test('is gone when an operator says so, and only by the token of that Mount', async () => {
    const { token, ticket } = await leaveUncleanEnd(socket);
    const key = claimPrefix('db') + ticket.nonce;
    expect(await socket.call('GET', '/v1/locks/db/gone')).toMatchObject({
      status: 200,
      body: { uncleanEnds: [{ volume: 'db', host: 'n2', token }] },
    });
    const other = await gone({ token: token + 1 });
    expect(other).toMatchObject({ status: 404 });
    expect(JSON.stringify(other.body)).toContain(`clear db --token ${token} --host-gone`);
    expect(socket.n1.mirror.record(key)).toBeDefined();
    expect(await gone({ token })).toMatchObject({
      status: 200,
      body: { gone: { volume: 'db', host: 'n2', token } },
    });
    await eventually(() => expect(socket.n1.mirror.record(key)).toBeUndefined());
    expect(socket.events.since(0)).toMatchObject([{ kind: 'host-gone', volume: 'db', token }]);
  });

  test('is not gone while it is alive or has the lock, unless forced', async () => {
    const { token } = await leaveUncleanEnd(socket);
    await using other = await socket.n2.lock([{ name: 'host/n2', mode: 'exclusive' }], {
      reason: 'Host',
    });
    await eventually(() => expect(socket.n1.mirror.ticket(other.ticket.nonce)).toBeDefined());
    const alive = await gone({ token });
    expect(alive).toMatchObject({ status: 409 });
    expect(JSON.stringify(alive.body)).toMatch(/n2 is alive.*--force/);
    await using held = await lockWithClaim(socket.n2);
    await eventually(() => expect(socket.n1.mirror.ticket(held.ticket.nonce)).toBeDefined());
    const holder = await gone({ token: held.token, force: true });
    expect(holder).toMatchObject({ status: 409 });
    expect(JSON.stringify(holder.body)).toContain(`clear db --token ${held.token}`);
    expect(await gone({ token, force: true })).toMatchObject({ status: 200 });
  });
});
