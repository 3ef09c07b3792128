// Three hosts are cut off, a fourth one takes their volumes and releases them: which containers run
// again. Engines on both versions of control groups, etcd, networks and the 5 s TTL are real.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';
import { startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster, startEngineNode } from '../hosts/cluster.ts';
import { eventsOf } from './events.ts';

const ttl = '5s';

/**
 * The containers of the host that restarts: name, volumes, and flags of `docker run`. (An engine takes a
 * volume's name of one letter for a drive.)
 */
const containers = {
  always: { volumes: ['va'], flags: ['--restart', 'always'] },
  stopped: { volumes: ['vb'], flags: ['--restart', 'unless-stopped'] },
  two: { volumes: ['vc', 'vd'], flags: ['--restart', 'on-failure'] },
  never: { volumes: ['ve'], flags: [] },
  task: {
    volumes: ['vf'],
    flags: ['--restart', 'always', '--label', 'com.docker.swarm.task.id=t1'],
  },
  changed: { volumes: ['vg'], flags: ['--restart', 'always'] },
} as const;
type Name = keyof typeof containers;

describeWith(['docker', 'etcd'], 'containers that were ended because their volume was lost', () => {
  let cluster: Cluster;
  let stack: AsyncDisposableStack;
  let one: EngineNode;
  let taker: EngineNode;
  /** A host with on-lost-restart=no. */
  let never: EngineNode;
  /** A host with control groups v2. */
  let onV2: EngineNode;

  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    cluster = stack.use(
      await startCluster({
        engines: ['26.1', '26.1', { docker: '26.1', controlGroups: 2 }],
        berth: { ttl, lockTimeout: '40s' },
      }),
    );
    const [first, second, third] = cluster.nodes;
    if (!first || !second || !third) throw new Error('there are no nodes');
    [one, taker, onV2] = [first, second, third];
    const { network, etcd, volumeDir } = cluster;
    const host = stack.use(await startHost({ docker: '20.10', network, name: 'n4' }));
    const flags = ['--on-lost-restart', 'no'];
    never = stack.use(await startEngineNode(host, { store: etcd.url, volumeDir, ttl, flags }));
    for (const [name, { volumes, flags: more }] of Object.entries(containers)) {
      await run(one, name, volumes, more);
    }
    await run(never, 'off', ['vh'], ['--restart', 'always']);
    await run(onV2, 'on-v2', ['vi'], ['--restart', 'always']);

    const lost = [one, never, onV2];
    await Promise.all(lost.map(({ host }) => host.disconnect()));
    const taken = [...Object.values(containers).flatMap(({ volumes }) => volumes), 'vh', 'vi'];
    await Promise.all(taken.map((volume) => run(taker, `taker-${volume}`, [volume], [])));
    await Promise.all(lost.map(({ host }) => host.reconnect()));
    for (const [name, { volumes }] of Object.entries(containers)) {
      for (const volume of volumes) await one.waitUntilUnmounted(volume, 30_000);
      await waitFor(async () => (await stateOf(one, name)) === 'exited', 20_000, `${name} to end`);
    }
    await never.waitUntilUnmounted('vh', 30_000);
    await onV2.waitUntilUnmounted('vi', 30_000);
  });
  afterAll(async () => stack[Symbol.asyncDispose]());

  const stateOf = (on: EngineNode, name: string) =>
    on.dockerOk('inspect', '-f', '{{.State.Status}}', name);

  /** Starts a container that writes its name to each of its volumes, three times a second. */
  async function run(
    on: EngineNode,
    name: string,
    volumes: readonly string[],
    flags: readonly string[],
  ): Promise<void> {
    for (const volume of volumes) await on.create(volume);
    const lines = volumes.map((volume) => `echo ${on.name} >> /${volume}/log`).join(' && ');
    await on.dockerOk(
      ...['run', '-d', '--name', name, '--stop-timeout', '0', ...flags],
      ...volumes.flatMap((volume) => ['-v', `${volume}:/${volume}`]),
      ...['busybox', 'sh', '-c', `while ${lines}; do usleep 300000; done`],
    );
  }

  /** Returns the hosts that wrote to a volume, in order. */
  async function writersOf(volume: string): Promise<string[]> {
    const log = await readFile(join(cluster.volumeDir, 'directory', volume, 'data/log'), 'utf8');
    return log
      .split('\n')
      .slice(0, -1)
      .filter((line, index, all) => line !== all[index - 1]);
  }

  test('while another host has the volumes, none of them is started, and none waits in the queue', async () => {
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    for (const name of Object.keys(containers)) expect(await stateOf(one, name)).toBe('exited');
    expect(await stateOf(never, 'off')).toBe('exited');
    expect(await stateOf(onV2, 'on-v2')).toBe('exited');
    // Each lock is held by the taker, and nobody waits: a waiting host would have asked for it.
    expect((await cluster.store.locks()).filter((lock) => lock.startsWith('mount/'))).toEqual(
      ['va', 'vb', 'vc', 'vd', 've', 'vf', 'vg', 'vh', 'vi'].map((volume) => `mount/${volume}`),
    );
  });

  test('a container with several volumes waits until all are free', async () => {
    await taker.down('taker-vc');
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    expect(await stateOf(one, 'two')).toBe('exited');
    await taker.down('taker-vd');
    await waitFor(async () => (await stateOf(one, 'two')) === 'running', 20_000, 'two to run');
    await eventually(async () => {
      expect(await writersOf('vc')).toEqual(['n1', 'n2', 'n1']);
      expect(await writersOf('vd')).toEqual(['n1', 'n2', 'n1']);
    });
  });

  test('containers with a restart policy run again when their volume is free, with an event (control groups v1 and v2)', async () => {
    await one.dockerOk('update', '--restart', 'no', 'changed');
    await one.daemon.kill(); // The next daemon knows them, too.
    await one.daemon.start();
    for (const volume of ['va', 'vb', 've', 'vf', 'vg', 'vh', 'vi']) {
      await taker.down(`taker-${volume}`);
    }
    for (const [node, name, volume] of [
      [one, 'always', 'va'],
      [one, 'stopped', 'vb'],
      [onV2, 'on-v2', 'vi'],
    ] as const) {
      const isRunning = async () => (await stateOf(node, name)) === 'running';
      await waitFor(isRunning, 30_000, `${name} to run`);
      const hosts = [node.name, taker.name, node.name];
      await eventually(async () => expect(await writersOf(volume)).toEqual(hosts));
      expect(await eventsOf(node, volume)).toContainEqual(
        expect.stringMatching(new RegExp(`^restarted: started container ${name} `)),
      );
    }
  });

  test.each<[name: Name, volume: string, event: RegExp | undefined]>([
    ['never', 've', undefined],
    ['task', 'vf', undefined],
    ['changed', 'vg', /^not-restarted: .*its restart policy is no/],
  ])('the container %s stays ended', async (name, volume, event) => {
    if (event) {
      await eventually(async () => {
        expect(await eventsOf(one, volume)).toContainEqual(expect.stringMatching(event));
      });
    }
    expect(await stateOf(one, name)).toBe('exited');
    expect((await eventsOf(one, volume)).filter((text) => /^restarted/.test(text))).toEqual([]);
  });

  test('with on-lost-restart=no none is started', async () => {
    expect(await stateOf(never, 'off')).toBe('exited');
    expect((await eventsOf(never, 'vh')).filter((text) => /restarted/.test(text))).toEqual([]);
    expect((await never.docker('start', 'off')).code).toBe(0);
  });
});
