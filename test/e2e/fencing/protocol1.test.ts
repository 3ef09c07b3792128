// The release before protocol 2 of the sentinel, played by scripts that say what its daemon and its
// sentinel said; upgrade.test.ts runs that release itself where the history has it. Hosts without an
// engine, etcd and time are real.

import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, expect, test } from '@jest/globals';
import { bootId, bootNowMs } from '../../../lib/linux/boot.ts';
import type { SentinelReport } from '../../../sentinel/watch.ts';
import { reportSchema } from '../../../sentinel/watch.ts';
import { repository } from '../../support/berth.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';

const socket = '/run/berth/admin.sock.sentinel';

/** Answers as a sentinel of protocol 1 that watches nothing, and ends when it is asked to. */
const oldSentinel = `
  const { mkdirSync } = require('node:fs');
  mkdirSync('/run/berth', { recursive: true });
  const report = { protocolVersion: 1, pid: process.pid, volumes: {}, happenings: [] };
  require('node:http').createServer((request, response) => {
    request.resume();
    if (request.url === '/end') response.once('close', () => process.exit(0));
    response.end(JSON.stringify(report));
  }).listen('${socket}', () => console.log('ready'));`;

describeWith(['root', 'etcd'], 'a daemon or sentinel of protocol 1', () => {
  const stack = new AsyncDisposableStack();
  afterAll(() => stack.disposeAsync());

  test('a daemon of this release replaces the old sentinel, and mounts', async () => {
    const host = stack.use(await startBareHost('old-sentinel'));
    const etcd = stack.use(await startEtcd({ in: host }));
    const old = stack.use(host.spawn('node', ['-e', oldSentinel]));
    await waitFor(() => old.output().includes('ready'), 10_000, 'the old sentinel');
    const node = stack.use(await startNode(host, { store: etcd.url }));
    await node.create('db');
    await node.ok('Mount', { Name: 'db', ID: 'a'.repeat(64) });
    await waitFor(() => old.hasExited, 10_000, 'the old sentinel to end');
    expect(await node.daemon.berthOk('events')).toMatch(
      /replaced a sentinel of another release: the sentinel speaks protocol 1/,
    );
    const report = await call(host, 'GET', '/report');
    expect(report).toMatchObject({ protocolVersion: 2, volumes: { db: 'running' } });
    await node.ok('Unmount', { Name: 'db', ID: 'a'.repeat(64) });
  });

  test('a sentinel of this release serves the old daemon: it fences, resumes, and releases what is absent', async () => {
    const host = stack.use(await startBareHost('old-daemon'));
    const mountpoint = join(host.directory, 'mount');
    await host.execOk('mkdir', mountpoint);
    await host.execOk('mount', '-t', 'tmpfs', 'volume', mountpoint);
    const flags = ['--stay', '--socket', socket, '--docker-socket', host.dockerSocket];
    const sentinel = stack.use(
      host.spawn('node', [join(repository, 'sentinel/main.ts'), ...flags], {
        env: { DEBUG: 'berth:sentinel' },
      }),
    );
    await waitFor(() => /pid=\d/.test(sentinel.output()), 20_000, 'the sentinel to listen');
    const watch = (...volumes: object[]) =>
      call(host, 'PUT', '/watch', { bootId: bootId(), leadMs: 500, graceMs: 0, noted: 0, volumes });
    const held = (leftMs: number) => ({
      ...{ volume: 'db', mountpoint, ownsFileSystem: false, onLost: 'pause', state: 'held' },
      tenure: 'db-1', // tidy-ok: protocol name
      deadlineMs: bootNowMs() + leftMs,
    });
    const isFenced = async () => (await call(host, 'GET', '/report')).volumes.db === 'fenced';

    const first = await watch(held(60_000));
    expect(first).toMatchObject({ protocolVersion: 1, volumes: { db: 'running' } });
    expect(first.watched).toBeUndefined();
    await watch(held(1_000));
    await waitFor(isFenced, 20_000, 'the volume to be fenced');
    await watch(held(60_000));
    await waitFor(async () => !(await isFenced()), 20_000, 'the volume to run');
    expect((await watch()).volumes).toEqual({});
  });
});

/** Calls the sentinel of a host. */
async function call(
  host: BareHost,
  method: string,
  path: string,
  body?: object,
): Promise<SentinelReport> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socketPath = host.pathOf(socket);
  const outgoing = request({ socketPath, path, method, agent: false }, (response) => {
    text(response).then(resolve, reject);
  });
  outgoing.on('error', reject);
  outgoing.end(body && JSON.stringify(body));
  return reportSchema.parse(JSON.parse(await promise));
}
