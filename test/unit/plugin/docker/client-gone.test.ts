// What the plugin does when a client hangs up during a call, over a real socket, with volumes in
// memory.

import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { DockerSocket } from '../../../support/docker-socket.ts';
import { openDockerSocket } from '../../../support/docker-socket.ts';
import { eventually } from '../../../support/eventually.ts';
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

describe('a client that hangs up', () => {
  test.each([
    ['Create', 'create'],
    ['Remove', 'remove'],
    ['Mount', 'mount'],
    ['Snapshot', 'snapshot'],
    ['Copy', 'copy'],
  ] as const)('aborts its %s', async (endpoint, method) => {
    const gone = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    volumes.faults[method] = (context) => {
      context?.signal.addEventListener('abort', () => gone.resolve());
      started.resolve();
      return gone.promise;
    };
    const body = { Name: 'db', ID: 'id1', Snapshot: 'monday', Target: 'db2' };
    const { leave } = socket.begin(`VolumeDriver.${endpoint}`, body);
    await started.promise;
    leave();
    await gone.promise;
  });

  test('leaves no mount behind, even if the mount was already made', async () => {
    await call('VolumeDriver.Create', { Name: 'db', Opts: null });
    const mounting = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    volumes.faults.mount = () => {
      mounting.resolve();
      return go.promise;
    };
    const { leave } = socket.begin('VolumeDriver.Mount', { Name: 'db', ID: 'id1' });
    await mounting.promise;
    leave();
    await delay(20);
    go.resolve();
    await eventually(() => expect(volumes.calls).toContain('unmount db id1'));
    expect(volumes.get('db')?.mounted).toBeUndefined();
  });

  test('does not abort its Unmount', async () => {
    await call('VolumeDriver.Create', { Name: 'db', Opts: null });
    await call('VolumeDriver.Mount', { Name: 'db', ID: 'id1' });
    const unmounting = Promise.withResolvers<AbortSignal | undefined>();
    const go = Promise.withResolvers<void>();
    volumes.faults.unmount = (context) => {
      unmounting.resolve(context?.signal);
      return go.promise;
    };
    const { leave } = socket.begin('VolumeDriver.Unmount', { Name: 'db', ID: 'id1' });
    const signal = await unmounting.promise;
    leave();
    await delay(20);
    expect(signal?.aborted).toBe(false);
    go.resolve();
    await eventually(() => expect(volumes.get('db')?.mounted).toBeUndefined());
  });
});
