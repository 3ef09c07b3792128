// Mounts whose Unmount never arrives although the engine runs on, and mounts that only look like
// that. A real engine and daemon; the reconciler runs every second of real time.
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startHost } from '../../support/host.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';

const mountId = 'f'.repeat(64);
const podmanId = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';

describeWith(['docker'], 'unused mounts', () => {
  const stack = new AsyncDisposableStack();
  let node: EngineNode;
  let elsewhere: RunningProcess;

  const events = (volume: string) => node.daemon.berthOk('events', '--volume', volume);
  const rowOf = async (volume: string) => (await node.table()).find((row) => row.volume === volume);
  async function mount(Name: string, id = mountId): Promise<void> {
    await node.create(Name);
    await node.ok('Mount', { Name, ID: id });
  }

  // The first test waits until an unused mount is dropped; the others check mounts that must stay.
  beforeAll(async () => {
    const host = stack.use(await startHost());
    const flags = ['--reconcile-interval', '1s'];
    node = stack.use(await startEngineNode(host, { flags }));
    await mount('created');
    await node.dockerOk('create', '--name', 'created', '-v', 'created:/p', 'busybox', 'true');
    await mount('shared');
    await node.up('shared', 'shared');
    await mount('podman', podmanId);
    await mount('elsewhere');
    const script = `mount --bind ${node.mountpoint('elsewhere')} /mnt && exec sleep 1000`;
    elsewhere = stack.use(
      host.spawn('unshare', ['--mount', '--propagation', 'slave', 'sh', '-c', script]),
    );
    await mount('renewed');
  });
  afterAll(() => stack.disposeAsync());

  test('the reconciler unmounts after a lost Unmount, and each Mount restarts its time limit', async () => {
    await mount('lost');
    await delay(1_500);
    expect(await node.mountCount('lost')).toBe(1);
    const isOver = async () => {
      await delay(500);
      await node.ok('Mount', { Name: 'renewed', ID: mountId });
      await node.ok('Unmount', { Name: 'renewed', ID: mountId });
      return (await node.mountCount('lost')) === 0;
    };
    await waitFor(isOver, 15_000, 'the unmount');
    expect(await node.mountCount('renewed')).toBe(1);
    expect(await events('lost')).toMatch(
      /warning +lost {2}no container uses it.* f{12}: unmounted/,
    );
    await node.ok('Remove', { Name: 'lost' });
    await node.waitUntilUnmounted('renewed');
  });

  test('the reconciler keeps the mounts of existing containers, running or not, until they are removed', async () => {
    expect(await node.mountCount('created')).toBe(1);
    expect(Object.keys((await rowOf('shared'))?.mountIds ?? {})).toHaveLength(2);
    await node.dockerOk('rm', '-f', 'created', 'shared');
    await Promise.all(['created', 'shared'].map((volume) => node.waitUntilUnmounted(volume)));
  });

  test('the reconciler keeps a mount that a process has in another namespace, and an event says so', async () => {
    const isReported = async () =>
      (await events('elsewhere')).includes('a process on this host has it mounted');
    await waitFor(isReported, 10_000, 'the event');
    expect(await node.mountCount('elsewhere')).toBe(1);
    await elsewhere.stop();
    await node.waitUntilUnmounted('elsewhere');
    expect((await events('elsewhere')).split('\n').filter(Boolean)).toHaveLength(2);
  });

  test('row 4: the reconciler repeats an Unmount that was refused once it is possible', async () => {
    await node.create('busy');
    await node.up('busy', 'busy');
    {
      const script = `cd ${node.mountpoint('busy')} && echo here && exec sleep 1000`;
      await using occupier = node.host.spawn('sh', ['-c', script]);
      await waitFor(
        () => occupier.output().includes('here'),
        5_000,
        'a process to enter the mount',
      );
      await node.down('busy');
      const isReported = async () => (await events('busy')).includes("it can't be unmounted");
      await waitFor(isReported, 15_000, 'the event');
      expect(await node.mountCount('busy')).toBe(1);
    }
    await node.waitUntilUnmounted('busy');
    expect(await events('busy')).toContain('unmounted and unlocked');
  });

  test('bug-reports 11: a local volume that hides one of berth is named until it is removed', async () => {
    await node.dockerOk('volume', 'create', '-d', 'local', 'shad');
    await node.create('shad');
    const isNamed = async () =>
      (await node.daemon.berth('status')).stdout.includes('docker volume rm shad');
    await waitFor(isNamed, 15_000, 'the local volume to be named');
    await node.dockerOk('volume', 'rm', 'shad');
    await waitFor(async () => !(await isNamed()), 15_000, 'the local volume to be forgotten');
  });

  test('row 13: only Podman ends a mount of Podman', async () => {
    await mount('forgotten');
    await node.host.killEngine();
    await node.daemon.kill();
    await node.daemon.start();
    await node.host.startEngine();
    await node.waitUntilUnmounted('forgotten');
    expect((await rowOf('podman'))?.mountIds).toEqual({
      [podmanId]: { count: 1, confirmed: true },
    });
    expect(await node.mountCount('podman')).toBe(1);
    await node.ok('Unmount', { Name: 'podman', ID: podmanId });
    await node.waitUntilUnmounted('podman');
  });
});
