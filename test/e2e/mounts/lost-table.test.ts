// The mount table of a host is lost or damaged while volumes are mounted: the next daemon takes the
// mounts over from the kernel, or leaves them alone and says why. etcd, mounts, mount namespaces and
// time are real (a TTL of 6 s); no Docker engine: the test makes its calls.

import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { lostId } from '../../../lib/volumes/mounts/mount-row.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';

const mountId = 'd'.repeat(64);
const otherId = 'e'.repeat(64);

describeWith(['root', 'etcd', 'loop'], 'a daemon whose mount table was lost', () => {
  let cluster: BareCluster;
  let node: BareNode;
  let other: BareNode;
  let stateDir: string;
  let table: string;

  beforeAll(async () => {
    cluster = await startBareCluster();
    [node, other] = await Promise.all([
      cluster.join('n1', { ttl: '15s', lockTimeout: '300ms' }),
      cluster.join('n2', { ttl: '15s', lockTimeout: '300ms' }),
    ]);
    stateDir = join(node.host.directory, 'berth');
    table = join(stateDir, 'mounts.json');
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    expect(await cluster.store.locks()).toEqual([]);
    expect(await node.table()).toEqual([]);
  });

  const content = (name: string) =>
    readFile(join(cluster.volumeDir, 'directory', name, 'data/file'), 'utf8');
  const conditions = async () => (await node.status()).conditions.map(({ message }) => message);
  const adopted = () =>
    waitFor(async () => (await node.table()).length > 0, 10_000, 'the mount to be taken over');

  async function mounted(name: string): Promise<void> {
    await node.create(name);
    await writeFile(join(cluster.volumeDir, 'directory', name, 'data/file'), name);
    await node.ok('Mount', { Name: name, ID: mountId });
  }

  /** Mounts the volume in a namespace of its own, as a container has it, until the process ends. */
  async function container(name: string) {
    const script = `mkdir -p /tmp/of-${name} && mount --bind ${node.mountpoint(name)} /tmp/of-${name}
      umount ${node.mountpoint(name)}; echo here; exec sleep 1000`;
    const user = node.host.spawn('unshare', [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      script,
    ]);
    await waitFor(() => user.output().includes('here'), 10_000, 'a container');
    return user;
  }

  test('deleted: the mount is taken over with its lock, until the last container has ended', async () => {
    await mounted('db');
    const [before] = await node.table();
    await using user = await container('db');
    await node.daemon.kill();
    await rm(table);
    await node.daemon.start();
    await adopted();
    expect(await node.table()).toMatchObject([
      {
        volume: 'db',
        ticket: { token: before?.ticket.token },
        mountIds: { [lostId]: { count: 1 } },
      },
    ]);
    expect((await other.call('Mount', { Name: 'db', ID: mountId })).Err).toMatch(mountedOn('n1'));
    expect((await node.call('Remove', { Name: 'db' })).Err).toMatch(/db is in use: mounted on/);
    expect(await node.daemon.berthOk('events')).toMatch(/db .*not in the mount table: taken over/);

    // A second container comes and goes; the first is seen in its mount namespace.
    await node.ok('Mount', { Name: 'db', ID: otherId });
    await node.ok('Unmount', { Name: 'db', ID: otherId });
    expect(await node.mountCount('db')).toBe(1);
    await user.stop();
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    expect(await node.mountCount('db')).toBe(0);
    await node.ok('Remove', { Name: 'db' });
  });

  test('deleted: a mounted image is taken over, and its last write reaches the image', async () => {
    await node.create('img', { driver: 'image', size: '16M' });
    await node.ok('Mount', { Name: 'img', ID: mountId });
    await node.daemon.kill();
    await rm(table);
    await node.daemon.start();
    await adopted();
    const file = join(node.mountpoint('img'), 'file');
    await node.host.execOk('sh', '-c', `echo written > ${file}`);
    await node.ok('Unmount', { Name: 'img', ID: mountId });
    expect(await node.mountCount('img')).toBe(0);
    await other.ok('Mount', { Name: 'img', ID: mountId });
    const copy = join(other.mountpoint('img'), 'file');
    expect(await other.host.execOk('cat', copy)).toContain('written');
    await other.ok('Unmount', { Name: 'img', ID: mountId });
    await node.ok('Remove', { Name: 'img' });
  });

  test('deleted, and the store away: Mount waits for the store, an orderly stop keeps the lock', async () => {
    await mounted('db');
    await node.daemon.kill();
    await rm(table);
    await cluster.etcd.kill();
    await node.daemon.start();
    expect(await conditions()).toContainEqual(
      expect.stringMatching(/the mount of volume db at \S+ is not in the mount table; berth takes/),
    );
    expect((await node.call('Mount', { Name: 'db', ID: mountId })).Err).not.toBe('');
    expect(await node.mountCount('db')).toBe(1);
    await node.daemon.stop();
    await cluster.etcd.restart();
    await node.daemon.start();
    await adopted();
    expect(await cluster.store.locks()).toEqual(['mount/db']);
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    expect(await node.mountCount('db')).toBe(0);
    await node.ok('Remove', { Name: 'db' });
  });

  test('deleted, and the lock expired: the mount is left alone, and its content is not removed', async () => {
    await mounted('db');
    await node.daemon.kill();
    await rm(table);
    await waitFor(
      async () => (await cluster.store.locks()).length === 0,
      20_000,
      'the lease to end',
    );
    await node.daemon.start();
    const reason =
      /the mount of volume db at \S+ is not in the mount table.*holds no lock on the volume/;
    await waitFor(
      async () => (await conditions()).some((message: string) => reason.test(message)),
      10_000,
      'the verdict',
    );
    expect((await node.call('Mount', { Name: 'db', ID: otherId })).Err).toMatch(reason);
    const user = node.host.spawn('sh', ['-c', `cd ${node.mountpoint('db')} && exec sleep 1000`]);
    await waitFor(
      async () => (await node.call('Remove', { Name: 'db' })).Err.includes('sleep (pid'),
      5_000,
      'a refusal that names the user',
    );
    expect((await node.call('Remove', { Name: 'db' })).Err).toMatch(
      /volume db is still mounted at \S+ on this host \(in use by sleep \(pid \d+\)\)/,
    );
    await user.stop();
    expect((await node.call('Remove', { Name: 'db' })).Err).toMatch(/db is still mounted at/);
    expect(await content('db')).toBe('db');
    expect(await node.mountCount('db')).toBe(1);
    await node.daemon.berthOk('doctor', '--fix');
    expect(await node.mountCount('db')).toBe(0);
    await node.ok('Mount', { Name: 'db', ID: mountId });
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    await node.ok('Remove', { Name: 'db' });
  });

  test('deleted, and a container uses the mount: the doctor does not unmount it', async () => {
    await mounted('db');
    await using user = await container('db');
    await node.daemon.kill();
    await rm(table);
    await waitFor(
      async () => (await cluster.store.locks()).length === 0,
      20_000,
      'the lease to end',
    );
    await node.daemon.start();
    const fix = () => node.daemon.berth('doctor', '--fix');
    await waitFor(
      async () => (await fix()).stdout.includes('is in use by sleep'),
      10_000,
      'a refusal',
    );
    expect(await node.mountCount('db')).toBe(1);
    await user.stop();
    expect((await fix()).code).toBe(0);
    expect(await node.mountCount('db')).toBe(0);
    await node.ok('Remove', { Name: 'db' });
  });

  test('damaged: the daemon starts, uses what it can read, and keeps the rest aside', async () => {
    for (const name of ['db', 'web']) await mounted(name);
    await node.daemon.kill();
    const damaged = (await readFile(table, 'utf8')).replaceAll(
      /"ticket"(.*"mount\/db")/g,
      'ticket$1',
    );
    await writeFile(table, damaged);
    await appendFile(table, '{"put":{"volume":"torn","dri');
    await node.daemon.start();
    await waitFor(async () => (await node.table()).length === 2, 10_000, 'both rows');
    expect(await cluster.store.locks()).toEqual(['mount/db', 'mount/web']);
    expect(await conditions()).toContainEqual(
      expect.stringMatching(/the mount table \S+ could not be read completely, about db: /),
    );
    const aside = (await readdir(stateDir)).filter((name) => name.includes('unreadable'));
    expect(aside).toHaveLength(1);
    expect(await readFile(join(stateDir, aside[0] ?? ''), 'utf8')).toContain(damaged);
    for (const Name of ['db', 'web']) {
      await node.ok('Unmount', { Name, ID: mountId });
      expect(await node.mountCount(Name)).toBe(0);
      await node.ok('Remove', { Name });
    }
  });
});

describeWith(['root'], 'a host alone whose mount table was lost', () => {
  test('deleted: Remove of the mounted volume is refused, and its content stays', async () => {
    await using host = await startBareHost('n1');
    await using node = await startNode(host);
    const file = join(host.directory, 'volumes/directory/db/data/file');
    await node.create('db');
    await writeFile(file, 'content');
    await node.ok('Mount', { Name: 'db', ID: mountId });
    await node.daemon.kill();
    await rm(join(host.directory, 'berth/mounts.json'));
    await node.daemon.start();
    expect((await node.call('Remove', { Name: 'db' })).Err).toMatch(
      /volume db is in use: mounted on/,
    );
    expect(await readFile(file, 'utf8')).toBe('content');
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    await node.ok('Remove', { Name: 'db' });
  });
});
