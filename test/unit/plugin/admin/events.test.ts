// `berth events` and its part of the admin API, over a real socket, with an event log in memory.

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { AdminSocket } from '../../../support/admin-socket.ts';
import { openAdminSocket } from '../../../support/admin-socket.ts';
import { runBerth } from '../../../support/berth-command.ts';

let socket: AdminSocket;
beforeEach(async () => {
  socket = await openAdminSocket();
});
afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

function record(volume: string, message: string): void {
  socket.events.record({ severity: 'warning', kind: 'settled', volume, message, token: 4 });
}

async function follow(path: string): Promise<IncomingMessage> {
  const outgoing = request({ socketPath: socket.path, path, agent: false });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  return response;
}

test('GET returns all events, or those after a number', async () => {
  record('db', 'one');
  record('web', 'two');
  const second = {
    ...{ number: 2, time: expect.any(String), severity: 'warning', kind: 'settled' },
    ...{ volume: 'web', message: 'two', token: 4 },
  };
  expect(await socket.call('GET', '/v1/events')).toEqual({
    status: 200,
    body: { events: [expect.objectContaining({ number: 1, message: 'one' }), second] },
  });
  expect(await socket.call('GET', '/v1/events?since=1')).toEqual({
    status: 200,
    body: { events: [second] },
  });
  expect((await socket.call('GET', '/v1/events?since=9')).body).toEqual({ events: [] });
});

test.each(['since=x', 'since=-1', 'since=1.5', 'follow=yes', 'until=1'])(
  'an invalid query is refused: %s',
  async (query) => {
    expect(await socket.call('GET', `/v1/events?${query}`)).toMatchObject({
      status: 400,
      body: { error: { code: 'invalid', message: expect.stringContaining('since=NUMBER') } },
    });
  },
);

test('a follower gets each event as it happens, until the daemon stops', async () => {
  record('db', 'one');
  const response = await follow('/v1/events?since=0&follow=true');
  const lines = createInterface({ input: response })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value ?? '');
  expect(await next()).toMatchObject({ number: 1, message: 'one' });
  record('db', 'two');
  expect(await next()).toMatchObject({ number: 2, message: 'two' });
  socket.stopping.abort();
  expect((await lines.next()).done).toBe(true);
});

test('a follower gets its response header before the first event', async () => {
  const response = await follow('/v1/events?follow=true');
  expect(response.statusCode).toBe(200);
  socket.stopping.abort();
  expect(await text(response)).toBe('');
});

test('berth events prints one line per event, of one volume on request', async () => {
  const berth = (commandLine: string) => runBerth(commandLine, { path: socket.path });
  expect(await berth('events')).toEqual({ exitCode: 0, stdout: '', stderr: '' });
  record('db', 'one');
  record('web', 'two');
  const { stdout } = await berth('events');
  expect(stdout.replace(/^\S+Z/gm, 'TIME')).toBe(
    'TIME  warning  db  one\nTIME  warning  web  two\n',
  );
  expect((await berth('events --volume web')).stdout).toMatch(/^\S+Z {2}warning {2}web {2}two\n$/);
  expect(JSON.parse((await berth('events --volume web --json')).stdout)).toEqual({
    events: [expect.objectContaining({ number: 2, volume: 'web', token: 4 })],
  });
});

test('berth events --follow reports the end of the daemon and exits', async () => {
  record('db', 'one');
  const following = runBerth('events --follow --json', { path: socket.path });
  setTimeout(() => {
    record('db', 'two');
    socket.stopping.abort();
  }, 300);
  const { exitCode, stdout, stderr } = await following;
  expect(exitCode).toBe(5);
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).message),
  ).toEqual(['one', 'two']);
  expect(JSON.parse(stderr).error.message).toContain('no daemon answers');
});
