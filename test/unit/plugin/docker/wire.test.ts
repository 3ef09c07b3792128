// Docker's volume plugin protocol over a real socket, with volumes in memory.

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InUseError } from '../../../../lib/volumes/errors.ts';
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

describe('the plugin protocol', () => {
  test('serves a volume from Create to Remove', async () => {
    expect(await call('Plugin.Activate')).toEqual({
      status: 200,
      type: 'application/vnd.docker.plugins.v1.2+json',
      body: { Implements: ['VolumeDriver'] },
    });
    expect((await call('VolumeDriver.Capabilities', {})).body).toEqual({
      Capabilities: { Scope: 'global' },
    });
    expect(
      (await call('VolumeDriver.Create', { Name: 'db', Opts: { size: '1073741824' } })).body,
    ).toEqual({ Err: '' });
    expect((await call('VolumeDriver.List', {})).body).toEqual({
      Volumes: [{ Name: 'db' }],
      Err: '',
    });
    expect((await call('VolumeDriver.Path', { Name: 'db' })).body).toEqual({
      Mountpoint: '',
      Err: '',
    });
    expect((await call('VolumeDriver.Mount', { Name: 'db', ID: 'id1' })).body).toEqual({
      Mountpoint: '/mnt/db',
      Err: '',
    });
    expect((await call('VolumeDriver.Path', { Name: 'db' })).body).toEqual({
      Mountpoint: '/mnt/db',
      Err: '',
    });
    expect((await call('VolumeDriver.List')).body).toEqual({
      Volumes: [{ Name: 'db', Mountpoint: '/mnt/db' }],
      Err: '',
    });
    expect((await call('VolumeDriver.Unmount', { Name: 'db', ID: 'id1' })).body).toEqual({
      Err: '',
    });
    expect((await call('VolumeDriver.Remove', { Name: 'db' })).body).toEqual({ Err: '' });
    expect(volumes.calls).toEqual([
      'activated',
      'create db {"size":"1073741824"}',
      'mount db id1',
      'unmount db id1',
      'remove db',
    ]);
  });

  test('answers an error with status 500 and its message', async () => {
    volumes.faults.remove = () => {
      throw new InUseError('volume db is held by host n2 (Mount, since …, token 7)');
    };
    expect(await call('VolumeDriver.Remove', { Name: 'db' })).toEqual({
      status: 500,
      type: 'application/vnd.docker.plugins.v1.2+json',
      body: { Err: 'volume db is held by host n2 (Mount, since …, token 7)' },
    });
  });

  test('answers an unexpected error with a short message', async () => {
    volumes.faults.create = () => {
      throw new TypeError('x is not a function');
    };
    const { status, body } = await call('VolumeDriver.Create', { Name: 'db', Opts: null });
    expect(status).toBe(500);
    expect(body).toEqual({ Err: 'berth failed, see its log: TypeError: x is not a function' });
  });

  test('serves Snapshot and Copy', async () => {
    await call('VolumeDriver.Create', { Name: 'db', Opts: null });
    for (const [endpoint, body] of [
      ['Snapshot', { Name: 'db', Snapshot: 'monday' }],
      ['Copy', { Name: 'db', Target: 'a' }],
      ['Copy', { Name: 'db', Snapshot: '', Target: 'b' }],
      ['Copy', { Name: 'db', Snapshot: 'monday', Target: 'c' }],
    ] as const) {
      expect((await call(`VolumeDriver.${endpoint}`, body)).body).toEqual({ Err: '' });
    }
    expect(volumes.calls.slice(1)).toEqual([
      'snapshot db@monday',
      'copy db a',
      'copy db b',
      'copy db@monday c',
    ]);
  });

  test('answers a Mount that has no mountpoint with an error, and unmounts it', async () => {
    await call('VolumeDriver.Create', { Name: 'db', Opts: null });
    volumes.mount = async () => '';
    const { status, body } = await call('VolumeDriver.Mount', { Name: 'db', ID: 'id1' });
    expect(status).toBe(500);
    expect(body).toEqual({ Err: expect.stringContaining('no mountpoint') });
    expect(volumes.calls).toContain('unmount db id1');
  });
});
