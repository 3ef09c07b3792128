// Invalid input to the plugin's socket, with volumes in memory. test/e2e/mounts/bad-input does it
// with a whole daemon.

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InUseError } from '../../../../lib/volumes/errors.ts';
import { checkMountId } from '../../../../lib/volumes/mounts/mount-row.ts';
import type { DockerSocket } from '../../../support/docker-socket.ts';
import { openDockerSocket } from '../../../support/docker-socket.ts';
import type { MemoryVolumes } from '../../../support/memory-volumes.ts';

let socket: DockerSocket;
let volumes: MemoryVolumes;
let call: DockerSocket['call'];

beforeEach(async () => {
  socket = await openDockerSocket();
  ({ volumes, call } = socket);
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

/** The calls that change something, with the volume method that each reaches. */
const changing = [
  ['Create', 'create'],
  ['Remove', 'remove'],
  ['Mount', 'mount'],
  ['Unmount', 'unmount'],
  ['Snapshot', 'snapshot'],
  ['Copy', 'copy'],
] as const;

const good = { Name: 'db', ID: 'id1', Opts: { a: 'b' }, Snapshot: 'monday', Target: 'db2' };

describe.each(changing)('a call of %s', (endpoint, method) => {
  const { Name: _, ...nameless } = good;

  test.each<[what: string, body: unknown, err: RegExp]>([
    ['no body', undefined, /^bad request: the body is empty/],
    ['a blank body', ' \n', /^bad request: the body is empty/],
    ['not JSON', '{', /^bad request: the body is not JSON$/],
    ['null', 'null', /^bad request: expected object, received null/],
    ['an array', '[]', /^bad request: expected object, received array/],
    ['no name', nameless, /^bad request: Name: expected string, received undefined/],
    ['null as name', { ...good, Name: null }, /^bad request: Name: expected string/],
    ['a number as name', { ...good, Name: 7 }, /^bad request: Name: expected string/],
    ['an empty name', { ...good, Name: '' }, /"" is not a valid volume name: use 1 to 128/],
    ['a path as name', { ...good, Name: '../x' }, /"\.\.\/x" is not a valid volume name/],
    ['a slash in the name', { ...good, Name: 'a/b' }, /is not a valid volume name/],
    ['a blank in the name', { ...good, Name: 'a b' }, /"a b" is not a valid volume name/],
    ['a long name', { ...good, Name: 'x'.repeat(300) }, /x…" is not a valid volume name/],
    ['a unicode name', { ...good, Name: 'dätä' }, /"dätä" is not a valid volume name/],
    ['a NUL in the name', { ...good, Name: 'a\0b' }, /is not a valid volume name/],
    ['a huge body', { ...good, pad: 'x'.repeat(1_100_000) }, /larger than 1 MB/],
  ])('with %s is refused and changes nothing', async (_what, body, err) => {
    const answer = await call(`VolumeDriver.${endpoint}`, body);
    expect(answer.status).toBe(500);
    expect(answer.body).toEqual({ Err: expect.stringMatching(err) });
    expect(volumes.calls).toEqual([]);
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'application/json'])(
    'with the Content-Type %s is accepted',
    async (type) => {
      volumes.faults[method] = () => {
        throw new InUseError('reached');
      };
      const answer = await call(`VolumeDriver.${endpoint}`, good, { 'Content-Type': type });
      expect(answer.body).toEqual({ Err: 'reached' });
    },
  );
});

test.each<[method: string, body: object, err: RegExp]>([
  ['Create', { ...good, Opts: { size: 5 } }, /^bad request: Opts: size: expected string/],
  ['Create', { ...good, Opts: 'size=5' }, /^bad request: Opts: expected record/],
  ['Mount', { Name: 'db' }, /^bad request: ID: expected string/],
  ['Mount', { Name: 'db', ID: '' }, /^bad request: ID: is empty/],
  ['Unmount', { Name: 'db', ID: '' }, /^bad request: ID: is empty/],
  ['Snapshot', { Name: 'db' }, /^bad request: Snapshot: expected string/],
  ['Snapshot', { Name: 'db', Snapshot: '' }, /"" is not a valid snapshot name/],
  ['Snapshot', { Name: 'db', Snapshot: '../x' }, /is not a valid snapshot name/],
  ['Copy', { Name: 'db' }, /^bad request: Target: expected string/],
  ['Copy', { Name: 'db', Target: 'a/b' }, /"a\/b" is not a valid volume name/],
  ['Copy', { Name: 'db', Target: 'b', Snapshot: 'a b' }, /is not a valid snapshot name/],
])('%s of %j is refused', async (method, body, err) => {
  const answer = await call(`VolumeDriver.${method}`, body);
  expect(answer.status).toBe(500);
  expect(answer.body).toEqual({ Err: expect.stringMatching(err) });
  expect(volumes.calls).toEqual([]);
});

test('a mount ID that no engine makes is answered with status 400', async () => {
  volumes.faults.mount = () => checkMountId('a\u202eb');
  expect(await call('VolumeDriver.Mount', { Name: 'db', ID: 'a\u202eb' })).toMatchObject({
    status: 400,
    body: { Err: expect.stringMatching(/^"a\\u202eb" is not a mount ID: use 1 to 255/) },
  });
});

test.each([{ Opts: null }, { Opts: {} }, {}])(
  'Create with options %j has no options',
  async (options) => {
    expect((await call('VolumeDriver.Create', { Name: 'db', ...options })).body).toEqual({
      Err: '',
    });
    expect(volumes.calls).toEqual(['create db {}']);
  },
);

test.each<[what: string, body: unknown]>([
  ['no body', ''],
  ['an unknown name', { Name: 'nope' }],
  ['an empty name', { Name: '' }],
])('Path with %s is an error', async (_what, body) => {
  expect((await call('VolumeDriver.Path', body)).status).toBe(500);
});

test.each(['VolumeDriver.Resize', 'NetworkDriver.Join', ''])(
  '%j is not implemented',
  async (path) => {
    expect(await call(path, good)).toEqual({
      status: 404,
      type: 'application/vnd.docker.plugins.v1.2+json',
      body: { Err: `not implemented: ${path}` },
    });
  },
);
