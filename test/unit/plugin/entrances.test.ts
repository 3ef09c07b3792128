// The daemon's sockets from its first moment until it can answer: real sockets, volumes in memory.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { SocketInUseError } from '../../../lib/linux/unix-server.ts';
import { dockerApp } from '../../../plugin/docker/app.ts';
import type { EntranceOptions, Entrances } from '../../../plugin/entrances.ts';
import { listenEarly } from '../../../plugin/entrances.ts';
import { eventually } from '../../support/eventually.ts';
import { MemoryVolumes } from '../../support/memory-volumes.ts';
import { callPlugin } from '../../support/plugin-call.ts';

let directory: string;
let paths: { readonly socket: string; readonly adminSocket: string };
let entrances: Entrances | undefined;
let volumes: MemoryVolumes;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'berth-'));
  paths = { socket: join(directory, 'd.sock'), adminSocket: join(directory, 'a.sock') };
  volumes = new MemoryVolumes();
});
afterEach(async () => {
  await entrances?.[Symbol.asyncDispose]();
  entrances = undefined;
  rmSync(directory, { recursive: true });
});

async function listen(options?: EntranceOptions): Promise<Entrances> {
  entrances = await listenEarly(paths, options);
  return entrances;
}

const onActivate = () => {
  volumes.calls.push('activated');
};
const open = () =>
  entrances?.open({
    docker: { app: dockerApp(volumes, { scope: 'local', onActivate }), onActivate },
    admin: (_request, response) => response.end('{"status":"fine"}'),
  });
const call = (method: string, body: object = {}) => callPlugin(paths.socket, method, body);
const db = { Name: 'db' };

test('requests that arrive before the daemon is ready wait, and are then executed', async () => {
  await listen();
  const early = [call('VolumeDriver.Create', { Name: 'db', Opts: null })];
  const status = callPlugin(paths.adminSocket, 'v1/status');
  expect(volumes.calls).toEqual([]);
  open();
  expect(await Promise.all(early)).toEqual([{ status: 200, body: { Err: '' } }]);
  expect(await status).toEqual({ status: 200, body: { status: 'fine' } });
  expect(volumes.calls).toEqual(['create db {}']);
  expect(await call('VolumeDriver.Get', db)).toMatchObject({ status: 200 });
});

test('Plugin.Activate is answered at once, and passed on once the volumes are ready', async () => {
  await listen();
  const answer = { status: 200, body: { Implements: ['VolumeDriver'] } };
  expect(await call('Plugin.Activate')).toEqual(answer);
  expect(volumes.calls).toEqual([]);
  open();
  await eventually(() => expect(volumes.calls).toEqual(['activated']));
  expect(await call('Plugin.Activate')).toEqual(answer);
  expect(volumes.calls).toEqual(['activated', 'activated']);
});

test('when the start takes too long, a waiting Get is cut and never answered with an error', async () => {
  await listen({ limitMs: 50 });
  await expect(call('VolumeDriver.Get', db)).rejects.toThrow('socket hang up');
  for (const method of ['Mount', 'List', 'Create']) {
    expect(await call(`VolumeDriver.${method}`, db)).toEqual({
      status: 500,
      body: { Err: expect.stringContaining('berth is still starting') },
    });
  }
  expect(await callPlugin(paths.adminSocket, 'v1/status')).toMatchObject({
    status: 503,
    body: { error: { code: 'unavailable' } },
  });
  open();
  expect(volumes.calls).toEqual([]);
});

test('a failed start cuts all waiting requests and leaves no socket', async () => {
  const early = await listen();
  const cut = expect(call('VolumeDriver.Create', db)).rejects.toThrow('socket hang up');
  await call('Plugin.Activate'); // The daemon has then read the other request as well.
  const started = performance.now();
  await early[Symbol.asyncDispose]();
  expect(performance.now() - started).toBeLessThan(4_500);
  await cut;
  expect([existsSync(paths.socket), existsSync(paths.adminSocket)]).toEqual([false, false]);
  expect(volumes.calls).toEqual([]);
});

test('if another process serves one of the sockets, no socket of this daemon is left', async () => {
  await listen();
  const { socket } = paths;
  const other = { socket, adminSocket: join(directory, 'other.sock') };
  await expect(listenEarly(other)).rejects.toThrow(SocketInUseError);
  expect(existsSync(other.adminSocket)).toBe(false);
  open();
  expect(await call('VolumeDriver.List')).toMatchObject({ status: 200 });
});
