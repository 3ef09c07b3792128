// Pools that are away: the file system of the volumes is not mounted, is read-only, or is another
// cluster's. Real daemons, file systems on loop devices and in memory, etcd; no Docker engine.

import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from '@jest/globals';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);
const drivers = [
  ['directory', { driver: 'directory' }],
  ['image', { driver: 'image', size: '16M' }],
] as const;

/** Returns the conditions of `berth status` about pools. */
async function conditions(node: Node): Promise<string[]> {
  const all = (await node.status()).conditions.map(({ message }) => message);
  return all.filter((message) => message.startsWith('the pool '));
}

async function findings({ daemon }: Node): Promise<{ kind: string; message: string }[]> {
  return JSON.parse((await daemon.berth('doctor', '--json')).stdout).findings;
}

async function events(node: Node): Promise<string[]> {
  return (await node.events()).map(({ kind }) => kind);
}

/**
 * Tries everything that touches the storage of `known`, and to remove `idle`; returns the distinct
 * reasons, without names.
 */
async function refusals(node: Node, known: string, options: object): Promise<string[]> {
  const answers = [
    await node.call('Create', { Name: 'stray', Opts: options }),
    await node.call('Create', { Name: 'copy', Opts: { from: known } }),
    await node.call('Mount', { Name: known, ID: mountId }),
    await node.call('Snapshot', { Name: known, Snapshot: 's' }),
    await node.call('Remove', { Name: 'idle' }),
  ];
  const reasons = answers.map(({ Err }) => Err.replace(/^volume \S+: /, ''));
  const { stderr } = await node.daemon.berth('snapshot', 'rm', `${known}@kept`);
  expect(stderr).toContain(reasons[0]);
  return [...new Set(reasons)];
}

describeWith(['root', 'etcd', 'loop'], 'the pool of the volumes', () => {
  test.each(drivers)(
    'a host that has not mounted the shared file system of %s volumes changes nothing there',
    async (driver, options) => {
      await using cluster = await startBareCluster();
      const [n1, n2] = [await cluster.join('n1'), await cluster.join('n2')];
      for (const name of ['db', 'idle']) await n1.create(name, options);
      await n1.ok('Snapshot', { Name: 'db', Snapshot: 'kept' });
      await n2.ok('Mount', { Name: 'db', ID: mountId });
      await n2.ok('Unmount', { Name: 'db', ID: mountId });

      // What n2 sees without the shared file system.
      await n2.host.execOk('mount', '-t', 'tmpfs', 'bare', cluster.volumeDir);
      const [reason, ...others] = await refusals(n2, 'db', options);
      expect(others).toEqual([]);
      expect(reason).toMatch(
        new RegExp(
          `^the pool of driver ${driver} at \\S+ has no mark .* host n1 marked .*: mount `,
        ),
      );
      expect(await n2.host.execOk('ls', '-A', cluster.volumeDir)).toBe('');
      expect(await conditions(n2)).toEqual([reason]);
      expect(await findings(n2)).toEqual([
        expect.objectContaining({ kind: 'pool-away', what: `driver ${driver}` }),
      ]);
      expect(Object.keys(await cluster.store.records())).toEqual(['db', 'idle']);
      expect(await conditions(n1)).toEqual([]);

      await n2.host.execOk('umount', cluster.volumeDir);
      expect(await conditions(n2)).toEqual([]);
      expect(await events(n2)).toEqual(expect.arrayContaining(['pool-away', 'pool-back']));
      await n2.ok('Mount', { Name: 'db', ID: mountId });
      await n2.ok('Unmount', { Name: 'db', ID: mountId });
    },
  );

  test('hosts that create their first volumes at once share one pool', async () => {
    await using cluster = await startBareCluster();
    const nodes = await Promise.all(['n1', 'n2', 'n3'].map((name) => cluster.join(name)));
    await Promise.all(nodes.map((node) => node.create(`of-${node.name}`)));
    for (const node of nodes) expect(await conditions(node)).toEqual([]);
  });

  test('hosts with directories of their own get no second pool, and the root disk of the one is named', async () => {
    await using cluster = await startBareCluster();
    await using onRoot = await makeTemporaryDirectory('/var/tmp'); // As an empty mount point.
    const n1 = await cluster.join('n1', { volumeDir: onRoot.path });
    await n1.create('db');
    expect(await conditions(n1)).toEqual([]);
    const n2 = await cluster.join('n2');
    const { Err } = await n2.call('Create', { Name: 'stray', Opts: null });
    expect(Err).toMatch(/has no mark of this cluster, and host n1 marked the cluster's pool/);
    expect(await readdir(cluster.volumeDir)).toEqual([]);
    expect(await conditions(n1)).toEqual([
      expect.stringMatching(/is on this host's root disk, and the store is also used by n2: /),
    ]);
    expect(await events(n1)).toContain('pool-on-root');
  });

  test('a file system that is unmounted, or read-only, while berth runs is noticed, and so is its return', async () => {
    await using pool = await makeFileSystem('ext4', 64);
    await using host = await startBareHost('n1');
    const volumeDir = join(host.directory, 'pool');
    await mkdir(volumeDir);
    await host.execOk('mount', '--bind', pool.path, volumeDir);
    await using node = await startNode(host, { volumeDir });
    for (const name of ['db', 'idle', 'used']) await node.create(name);
    await node.ok('Snapshot', { Name: 'db', Snapshot: 'kept' });
    const file = join(pool.path, 'directory/db/data/file');
    await writeFile(file, 'precious');

    await host.execOk('umount', volumeDir);
    const [away, ...others] = await refusals(node, 'db', {});
    expect(others).toEqual([]);
    expect(await host.execOk('ls', '-A', volumeDir)).toBe('');
    expect(await conditions(node)).toEqual([away]);

    await host.execOk('mount', '--bind', pool.path, volumeDir);
    await node.ok('Mount', { Name: 'used', ID: mountId });
    await runOk('mount', ['-o', 'remount,ro', pool.path]);
    const [readOnly] = await refusals(node, 'db', {});
    expect(readOnly).toMatch(/^the pool of driver directory at \S+ is read-only: /);
    expect(await conditions(node)).toEqual([readOnly]);
    await node.ok('Unmount', { Name: 'used', ID: mountId });

    await runOk('mount', ['-o', 'remount,rw', pool.path]);
    expect(await conditions(node)).toEqual([]);
    expect(await readFile(file, 'utf8')).toBe('precious');
    await node.daemon.berthOk('snapshot', 'rm', 'db@kept');
    await node.ok('Remove', { Name: 'db' });
  });

  test('a second cluster on the directory of the first one is refused, until a person decides', async () => {
    await using shared = await makeTemporaryDirectory();
    const volumeDir = shared.path;
    await using first = await startBareHost('n1');
    await using second = await startBareHost('n2');
    await using one = await startNode(first, { volumeDir });
    await using two = await startNode(second, { volumeDir });
    await one.create('db');
    const { Err } = await two.call('Create', { Name: 'db', Opts: null });
    expect(Err).toMatch(
      /pool of driver directory at \S+ belongs to another cluster \(\S+; this one/,
    );
    expect(await conditions(two)).toEqual([expect.stringContaining('belongs to another cluster')]);
    expect(await conditions(one)).toEqual([]);
    await one.ok('Remove', { Name: 'db' });

    const byHand = /lost: (?<command>mkdir .*)$/.exec(Err)?.groups?.command ?? '';
    await second.execOk('sh', '-c', byHand);
    await two.create('db');
    expect(await conditions(one)).toEqual([expect.stringContaining('belongs to another cluster')]);
  });

  test('a pool of an earlier release is marked if it holds exactly the volumes of the store', async () => {
    await using host = await startBareHost('n1');
    await using node = await startNode(host);
    const base = join(host.directory, 'volumes/directory');
    for (const name of ['v1', 'v2']) {
      await node.create(name);
      await writeFile(join(base, name, 'data/file'), name);
    }
    const forget = async () => {
      await node.daemon.stop();
      await rm(join(base, '.berth-pool'));
      // A host that remembers the cluster takes its record for lost.
      await rm(join(host.directory, 'berth/records.json'));
      using database = new DatabaseSync(join(host.directory, 'berth/berth.db'));
      database.exec("DELETE FROM records WHERE key = 'cluster' OR key LIKE 'pools/%'");
    };
    await forget();
    await node.daemon.start();
    await waitFor(
      async () => (await readdir(base)).includes('.berth-pool'),
      15_000,
      'the pool to be marked',
    );
    await node.ok('Mount', { Name: 'v1', ID: mountId });
    await node.ok('Unmount', { Name: 'v1', ID: mountId });

    await forget();
    await host.execOk('mv', join(base, 'v2'), join(host.directory, 'elsewhere'));
    await node.daemon.start();
    const [condition = ''] = await conditions(node);
    expect(condition).toMatch(/has no mark .* \(volumes that are not there: v2\): mount the file/);
    expect((await node.call('Mount', { Name: 'v1', ID: mountId })).Err).toContain(condition);
    expect(await readdir(base)).toEqual(['v1']);
    await host.execOk('mv', join(host.directory, 'elsewhere'), join(base, 'v2'));
    await node.ok('Mount', { Name: 'v1', ID: mountId });
    await node.ok('Unmount', { Name: 'v1', ID: mountId });
  });
});

describeWith(['root', 'loop'], 'storage without a record', () => {
  test.each(drivers)(
    'a Create of driver %s neither shows nor loses content that it finds, unless it adopts it',
    async (driver, options) => {
      await using host = await startBareHost('n1');
      await using node = await startNode(host);
      await node.create('db', options);
      await node.ok('Mount', { Name: 'db', ID: mountId });
      await writeFile(host.pathOf(join(node.mountpoint('db'), 'file')), 'precious');
      await node.ok('Unmount', { Name: 'db', ID: mountId });
      const base = join(host.directory, 'volumes', driver);
      await host.execOk('cp', '-a', join(base, 'db'), join(base, 'old'));

      const { Err } = await node.call('Create', { Name: 'old', Opts: options });
      expect(Err).toMatch(
        /^volume old has no record, but .* has storage with content .*nothing was/,
      );
      expect(Err).toMatch(/-o adopt=yes; or delete it first: berth doctor --fix --delete old$/);
      if (driver === 'image') {
        const other = { ...options, size: '17M', adopt: 'yes' };
        const refused = await node.call('Create', { Name: 'old', Opts: other });
        expect(refused.Err).toMatch(/has size=16777216, so it can't be adopted with size=17825792/);
      }
      const copied = await node.call('Create', { Name: 'old', Opts: { from: 'db' } });
      expect(copied.Err).toMatch(
        /^volume old has no record, but .* create the volume without from/,
      );
      await node.create('old', { ...options, adopt: 'yes' });
      await node.ok('Mount', { Name: 'old', ID: mountId });
      const file = host.pathOf(join(node.mountpoint('old'), 'file'));
      expect(await readFile(file, 'utf8')).toBe('precious');
      await node.ok('Unmount', { Name: 'old', ID: mountId });
      await node.create('old', options); // As it is: the same volume.
    },
  );
});
