// Disabling volumes by the admin API, with volumes in memory and the locks of two hosts over a
// memory store.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { AdminSocket } from '../../../support/admin-socket.ts';
import { openAdminSocket } from '../../../support/admin-socket.ts';
import { eventually } from '../../../support/eventually.ts';

let socket: AdminSocket;
const neverAborted = { signal: new AbortController().signal };

beforeEach(async () => {
  socket = await openAdminSocket();
  for (const name of ['db', 'web']) {
    await socket.volumes.create({ name, options: {} }, neverAborted);
  }
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

const post = (path: string, body?: unknown) => socket.call('POST', `/v1/locks/${path}`, body);
const gates = async (path = '/v1/locks') => {
  const { body } = await socket.call('GET', path);
  return body;
};
const mountOn = (name: string) =>
  socket.n2.lock([{ name, mode: 'exclusive' }], { reason: 'Mount', timeoutMs: 60_000 });

const disabled = {
  volume: 'db',
  facets: ['mount', 'snapshot'],
  host: 'n1',
  since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
};

test('while a volume is disabled, neither of its locks is granted to any host', async () => {
  expect(await post('db/disable', { why: 'upgrade' })).toEqual({
    status: 200,
    body: { disabled: { ...disabled, why: 'upgrade' } },
  });
  for (const name of ['mount/db', 'snapshot/db']) {
    await expect(mountOn(name)).rejects.toMatchObject({ code: 'disabled' });
  }
  await (await mountOn('mount/web')).unlock();
  const expected = { tickets: [], gates: [{ ...disabled, why: 'upgrade' }] };
  expect(await gates()).toEqual(expected);
  expect(await gates('/v1/locks/db')).toEqual(expected);
  expect(await gates('/v1/locks/web')).toEqual({ tickets: [], gates: [] });

  expect(await post('db/enable')).toEqual({ status: 200, body: { enabled: 'db' } });
  expect(await gates()).toEqual({ tickets: [], gates: [] });
  for (const name of ['mount/db', 'snapshot/db']) await (await mountOn(name)).unlock();
});

test('repeating a disable keeps the first host, time and reason', async () => {
  await post('db/disable');
  expect(await post('db/disable', { why: 'later' })).toEqual({ status: 200, body: { disabled } });
  await post('web/disable', { why: 'reboot' });
  expect(await gates()).toMatchObject({
    gates: [{ volume: 'db' }, { volume: 'web', why: 'reboot' }],
  });
  for (let times = 0; times < 2; times += 1) expect((await post('db/enable')).status).toBe(200);
  expect(await gates()).toMatchObject({ gates: [{ volume: 'web' }] });
});

test('holders keep their lock; waiting and new requests get an error that names the volume', async () => {
  const lock = await mountOn('mount/db');
  const waiting = socket.stream('/v1/locks/db/hold', {});
  await waiting.events.next();
  await post('db/disable', { why: 'upgrade' });
  const refusal = {
    code: 'disabled',
    message: expect.stringMatching(
      /^volume db is disabled by host n1 since 20\d\d-\S+Z \(upgrade\); enable it again with: berth lock enable db$/,
    ),
  };
  expect((await waiting.events.next()).value).toEqual({ event: 'error', ...refusal });
  expect(await post('db/hold')).toEqual({ status: 409, body: { error: refusal } });
  await lock.confirm();
  expect(await gates()).toMatchObject({ tickets: [{ state: 'held' }], gates: [disabled] });
  await lock.unlock();
});

test('a disable that was interrupted half-way is shown, and can be completed and enabled', async () => {
  await socket.n2.disable('mount/db');
  await eventually(async () =>
    expect(await gates()).toMatchObject({ gates: [{ facets: ['mount'], host: 'n2' }] }),
  );
  expect(await post('db/disable')).toMatchObject({
    body: { disabled: { facets: ['mount', 'snapshot'], host: 'n2' } },
  });
  await socket.n2.enable('mount/db');
  await post('db/enable');
  expect(await socket.n2.gates()).toEqual([]);
});

test('a removed volume can be enabled, but not one that never existed', async () => {
  await post('db/disable');
  await socket.volumes.remove('db', neverAborted);
  expect((await post('db/enable')).status).toBe(200);
  expect((await post('db/enable')).status).toBe(404);
  expect(await socket.n2.gates()).toEqual([]);
});

test.each<[path: string, body: unknown, status: number, message: RegExp]>([
  ['nope/disable', {}, 404, /^no such volume: nope$/],
  ['nope/enable', undefined, 404, /^no such volume: nope$/],
  ['..%2Fdb/disable', {}, 400, /not a valid volume name/],
  ['..%2Fdb/enable', undefined, 400, /not a valid volume name/],
  ['db/disable', '{', 400, /the body is not JSON/],
  ['db/disable', { why: '' }, 400, /why: /],
  ['db/disable', { why: 'x'.repeat(201) }, 400, /why: /],
  ['db/disable', { reason: 'x' }, 400, /"reason"/],
])('%s %j answers %d', async (path, body, status, message) => {
  const answer = await post(path, body);
  expect(answer.status).toBe(status);
  expect(answer.body).toMatchObject({ error: { message: expect.stringMatching(message) } });
  expect(await socket.n2.gates()).toEqual([]);
});
