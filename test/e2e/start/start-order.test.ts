// Scenarios 7 and 32: an engine neither waits for a volume nor forgets it because berth is
// starting. A real engine, etcd and socket activation; real time.
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { ActivatedBerth } from '../../support/activated-berth.ts';
import { startActivatedBerth } from '../../support/activated-berth.ts';
import { repository } from '../../support/berth.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { eventually } from '../../support/eventually.ts';
import type { Host } from '../../support/host.ts';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { StoreView } from '../../support/store-view.ts';
import { etcdView } from '../../support/store-view.ts';

describeWith(['docker', 'etcd', 'systemd'], 'a host that starts', () => {
  let host: Host;
  let etcd: Etcd;
  let berth: ActivatedBerth;
  let store: StoreView;
  beforeAll(async () => {
    host = await startHost({ docker: '26.1' });
    etcd = await startEtcd({ in: host });
    store = etcdView(etcd);
    berth = await startActivatedBerth(host, { store: etcd.url, ttl: '5s', lockTimeout: '6s' });
  });
  afterAll(async () => {
    await berth?.[Symbol.asyncDispose]();
    await etcd?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
  });

  const docker = (...args: string[]) => host.dockerOk(...args);
  const inspect = (name: string, format: string) => docker('inspect', '-f', format, name);
  const up = (name: string, ...flags: string[]) =>
    docker(
      ...['run', '-d', '--name', name, '--stop-timeout', '0', '-v', `${name}:/p`, ...flags],
      ...['busybox', 'sh', '-c', 'echo started >> /p/file; exec sleep 1000'],
    );
  const create = (name: string) =>
    docker(
      ...['volume', 'create', '-d', 'berth', '--label', 'tier=gold', '-o', 'access=host', name],
    );
  const state = (name: string) => inspect(name, '{{.State.Status}}');

  /** Stops engine and berth, and etcd as well, as if it ran on the same machine. */
  async function shutDown(): Promise<void> {
    await host.killEngine('SIGTERM');
    await berth.hold();
    await berth.end('SIGTERM');
    await etcd.kill();
  }
  /** Starts everything at once; returns how long the engine took. */
  async function startUp(): Promise<number> {
    await berth.release();
    const started = performance.now();
    await host.startEngine();
    return performance.now() - started;
  }
  async function expectKnown(name: string): Promise<void> {
    const format = '{{.Driver}} {{.Labels.tier}} {{.Options.access}}';
    expect(await docker('volume', 'inspect', '-f', format, name)).toBe('berth gold host');
  }

  test('defect B5, when the engine has not met the plugin: the daemon introduces it, even to a later engine', async () => {
    const known = () => docker('info', '-f', '{{.Plugins.Volume}}');
    expect(await known()).toBe('[local]');
    await host.killEngine('SIGTERM');
    expect(await host.exec(join(repository, 'bin/berth'), ['status'])).toMatchObject({ code: 0 });
    const hasMissedEngine = () => berth.log().includes('the engine does not answer yet');
    await waitFor(hasMissedEngine, 5_000, 'berth to miss the engine');
    await host.startEngine();
    const isKnown = async () => (await known()) === '[berth local]';
    await waitFor(isKnown, 15_000, 'the engine to know the plugin');
  });

  test('scenario 7: a plugin that starts 2 s after the request executes it once', async () => {
    await berth.hold();
    await berth.end('SIGTERM');
    const before = berth.log().length;
    const creating = docker('volume', 'create', '-d', 'berth', 's7');
    await delay(2_000);
    await berth.release();
    expect(await creating).toBe('s7');
    // One call of each, so the engine was kept waiting and has not retried.
    const calls = berth
      .log()
      .slice(before)
      .matchAll(/call=VolumeDriver\.(\w+) volume="s7"/g);
    expect([...calls].map(([, method]) => method)).toEqual(['Get', 'Create']);
    expect(Object.keys(await store.records())).toEqual(['s7']);
  });

  test('scenario 32: while etcd does not answer, the engine starts without delay and forgets no volume', async () => {
    const names = ['idle', 'known'];
    for (const name of names) await create(name);
    await up('idle');
    await shutDown();
    const started = berth.log().length;
    // Otherwise the engine waits 15 s or more for each volume that it gets no answer about.
    expect(await startUp()).toBeLessThan(25_000);
    for (const name of names) await expectKnown(name);
    const gets = [
      ...berth
        .log()
        .slice(started)
        .matchAll(/call=VolumeDriver\.Get .*outcome=(\S+)/g),
    ];
    expect(gets.length).toBeGreaterThanOrEqual(names.length);
    expect(new Set(gets.map(([, outcome]) => outcome))).toEqual(new Set(['200']));
    expect((await docker('volume', 'ls', '-q')).split('\n')).toEqual(expect.arrayContaining(names));
    expect(await state('idle')).toBe('exited');

    await etcd.restart();
    const isBack = async () => (await host.docker('start', 'idle')).code === 0;
    await waitFor(isBack, 30_000, 'the container to start');
    await docker('rm', '-f', 'idle');
    for (const name of names) await expectKnown(name);
  });

  test('a container with restart=always runs again as soon as etcd answers', async () => {
    await create('always');
    await up('always', '--restart', 'always');
    const starts = () => docker('exec', 'always', 'cat', '/p/file');
    await eventually(async () => expect(await starts()).toBe('started'));
    await shutDown();
    const starting = startUp();
    await delay(2_500);
    await etcd.restart();
    await starting;
    expect(await state('always')).toBe('running');
    await eventually(async () => expect(await starts()).toBe('started\nstarted'));

    await docker('rm', '-f', 'always');
  });
});
