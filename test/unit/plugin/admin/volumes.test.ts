// The volumes in the admin API, over a real socket, with volumes in memory.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InUseError, UnavailableError } from '../../../../lib/volumes/errors.ts';
import type { AdminSocket } from '../../../support/admin-socket.ts';
import { openAdminSocket } from '../../../support/admin-socket.ts';
import type { MemoryVolumes } from '../../../support/memory-volumes.ts';

let socket: AdminSocket;
let volumes: MemoryVolumes;
const neverAborted = { signal: new AbortController().signal };

beforeEach(async () => {
  socket = await openAdminSocket();
  ({ volumes } = socket);
  await volumes.create({ name: 'db', options: { size: '4096' } }, neverAborted);
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

const db = {
  name: 'db',
  driver: 'directory',
  access: 'host',
  failover: 'auto',
  onLost: 'pause',
  protect: false,
  fencing: { level: 'host', means: 'in memory' },
  options: { size: '4096' },
  createdAt: '2026-01-02T03:04:06.000Z',
  createdBy: 'n1',
  lastUse: { is: 'never' },
  snapshots: [],
  holders: [],
  waiting: [],
};

test('the list shows each volume with its mount', async () => {
  await volumes.mount('db', 'id1', neverAborted);
  expect(await socket.call('GET', '/v1/volumes')).toEqual({
    status: 200,
    body: {
      volumes: [
        {
          ...{ ...db, lastUse: { is: 'now' } },
          mounted: { mountpoint: '/mnt/db', mountIds: ['id1'] },
        },
      ],
      unreadable: [],
    },
  });
});

test('one volume is shown with its usage', async () => {
  expect(await socket.call('GET', '/v1/volumes/db')).toEqual({
    status: 200,
    body: { ...db, usage: { usedBytes: 1024, sizeBytes: 4096 } },
  });
});

test('a disabled volume is shown with its gates', async () => {
  const gate = { host: 'n2', since: '2026-01-02T03:04:05.000Z', why: 'upgrade' };
  const facets = ['mount', 'snapshot'];
  volumes.gates.set(
    'db',
    facets.map((facet) => ({ ...gate, lockName: `${facet}/db` })),
  );
  expect((await socket.call('GET', '/v1/volumes/db')).body).toMatchObject({
    ...db,
    gate: { ...gate, volume: 'db', facets },
  });
});

test("a volume whose usage can't be read is shown without it", async () => {
  volumes.faults.usage = () => {
    throw new UnavailableError('the file system hangs');
  };
  expect((await socket.call('GET', '/v1/volumes/db')).body).toEqual({
    ...db,
    usageError: 'the file system hangs',
  });
});

test('status is answered even while the volumes are unknown', async () => {
  const conditions = [{ severity: 'warning', message: 'nearly full' }] as const;
  socket.conditions.push(...conditions);
  const store = { kind: 'embedded', reachable: true };
  const status = { release: '0.1.0', host: 'n1', store, mounts: [], conditions };
  const locks = { held: 0, waiting: 0 };
  expect((await socket.call('GET', '/v1/status')).body).toEqual({ ...status, volumes: 1, locks });
  volumes.faults.list = () => {
    throw new UnavailableError('the store is away');
  };
  expect((await socket.call('GET', '/v1/status')).body).toEqual({ ...status, locks });
});

test('snapshots can be made, listed, restored and removed', async () => {
  const made = await socket.call('POST', '/v1/volumes/db/snapshots', { name: 'monday' });
  expect(made).toEqual({
    status: 200,
    body: {
      event: 'done',
      snapshot: {
        name: 'monday',
        createdAt: '2026-01-02T03:04:07.000Z',
        bytes: 3 * 2 ** 20,
        kind: 'moment',
      },
    },
  });
  expect((await socket.call('POST', '/v1/volumes/db/snapshots')).body).toMatchObject({
    event: 'done',
    snapshot: { name: expect.stringMatching(/^auto-/) },
  });
  for (const [method, path] of [
    ['POST', '/v1/volumes/db/snapshots/monday/restore'],
    ['DELETE', '/v1/volumes/db/snapshots/monday'],
  ] as const) {
    expect(await socket.call(method, path)).toEqual({ status: 200, body: { event: 'done' } });
  }
  expect(volumes.calls.slice(-2)).toEqual([
    'restoreSnapshot db@monday',
    'removeSnapshot db@monday',
  ]);
});

test('a copy reports its progress', async () => {
  volumes.faults.copy = (context) => {
    context?.onWait?.([]);
    for (let doneBytes = 1; doneBytes < 200; doneBytes++) {
      context?.onProgress?.({ doneBytes, totalBytes: 1024, doneFiles: 1, totalFiles: 2 });
    }
  };
  const { events } = socket.stream('/v1/copies', { source: 'db', target: 'db2' });
  const all = [];
  for (let next = await events.next(); !next.done; next = await events.next()) all.push(next.value);
  // Many reports within an instant are merged, but the last one always arrives.
  expect(all).toEqual([
    { event: 'waiting', holders: [] },
    { event: 'progress', doneBytes: 1, totalBytes: 1024, doneFiles: 1, totalFiles: 2 },
    { event: 'progress', doneBytes: 1024, totalBytes: 1024, doneFiles: 2, totalFiles: 2 },
    { event: 'done' },
  ]);
});

test('an error after the first event is the last event', async () => {
  volumes.faults.copy = (context) => {
    context?.onProgress?.({ doneBytes: 1, totalBytes: 2, doneFiles: 0, totalFiles: 1 });
    throw new InUseError('volume db is mounted on host n2');
  };
  const { events } = socket.stream('/v1/copies', { source: 'db', target: 'db2' });
  await events.next();
  expect(await events.next()).toEqual({
    done: false,
    value: { event: 'error', code: 'in-use', message: 'volume db is mounted on host n2' },
  });
  expect((await events.next()).done).toBe(true);
});

test('an operation is aborted when its caller hangs up', async () => {
  const gone = Promise.withResolvers<void>();
  volumes.faults.copy = (context) => {
    context?.onProgress?.({ doneBytes: 1, totalBytes: 2, doneFiles: 0, totalFiles: 1 });
    context?.signal.addEventListener('abort', () => gone.resolve());
    return gone.promise;
  };
  const { events, leave } = socket.stream('/v1/copies', { source: 'db', target: 'db2' });
  await events.next();
  leave();
  await gone.promise;
});

test.each<[method: string, path: string, body: unknown, status: number, message: RegExp]>([
  ['GET', '/v1/volumes/nope', undefined, 404, /^no such volume: nope$/],
  ['GET', '/v1/volumes/..%2Fx', undefined, 400, /"\.\.\/x" is not a valid volume name/],
  ['GET', '/v1/nope', undefined, 404, /^the admin socket has no GET \/v1\/nope$/],
  ['PUT', '/v1/volumes/db', undefined, 404, /^the admin socket has no PUT/],
  ['POST', '/v1/volumes/db/snapshots', '{', 400, /^bad request: the body is not JSON$/],
  ['POST', '/v1/volumes/db/snapshots', { nmae: 'x' }, 400, /^bad request: .*"nmae"/],
  ['POST', '/v1/volumes/db/snapshots', { name: 7 }, 400, /^bad request: name: expected string/],
  ['POST', '/v1/volumes/db/snapshots', { name: 'a b' }, 400, /not a valid snapshot name/],
  ['POST', '/v1/volumes/a b/snapshots'.replace(' ', '%20'), {}, 400, /not a valid volume name/],
  ['POST', '/v1/volumes/nope/snapshots', {}, 404, /^no such volume: nope$/],
  ['DELETE', '/v1/volumes/db/snapshots/nope', undefined, 404, /has no snapshot nope/],
  ['POST', '/v1/volumes/db/snapshots/nope/restore', undefined, 404, /has no snapshot nope/],
  ['POST', '/v1/copies', undefined, 400, /^bad request: the body is not JSON$/],
  ['POST', '/v1/copies', { source: 'db' }, 400, /^bad request: target: expected string/],
  ['POST', '/v1/copies', { source: 'db', target: 'a/b' }, 400, /"a\/b" is not a valid volume/],
  ['POST', '/v1/copies', { source: 'db@', target: 'x' }, 400, /"" is not a valid snapshot name/],
  ['POST', '/v1/copies', { source: 'db', target: 'db' }, 409, /^volume db exists$/],
  ['POST', '/v1/copies', { source: 'db', target: 'x', force: true }, 400, /"force"/],
  ['POST', '/v1/copies', 'x'.repeat(1_100_000), 400, /larger than 1 MB/],
])('%s %s %j answers %d', async (method, path, body, status, message) => {
  const before = volumes.list();
  const answer = await socket.call(method, path, body);
  expect(answer.status).toBe(status);
  expect(answer.body).toMatchObject({ error: { message: expect.stringMatching(message) } });
  expect(volumes.list()).toEqual(before);
});

test.each([
  ['unavailable', 503, new UnavailableError('x')],
  ['in-use', 409, new InUseError('x')],
  ['internal', 500, new TypeError('x')],
])('%s is status %d', async (code, status, error) => {
  volumes.faults.snapshot = () => {
    throw error;
  };
  const answer = await socket.call('POST', '/v1/volumes/db/snapshots', {});
  expect(answer).toMatchObject({ status, body: { error: { code } } });
});
