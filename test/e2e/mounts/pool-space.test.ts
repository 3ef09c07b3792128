// Pools that are full, and promises of space. A real daemon, pools on loop devices; no Docker engine.

import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { FileSystemKind } from '../../support/loop-fs.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);

interface OnPool extends AsyncDisposable {
  readonly host: BareHost;
  readonly node: Node;
  /** The volume directory, a file system of its own. */
  readonly pool: string;
}

async function startOnPool(
  kind: FileSystemKind,
  sizeMB: number,
  ...flags: readonly string[]
): Promise<OnPool> {
  await using stack = new AsyncDisposableStack();
  const disk = stack.use(await makeFileSystem(kind, sizeMB));
  const host = stack.use(await startBareHost('n1'));
  const pool = join(host.directory, 'pool');
  await mkdir(pool);
  await host.execOk('mount', '--bind', disk.path, pool);
  stack.defer(async () => {
    await host.exec('umount', ['--recursive', pool]);
  });
  const node = stack.use(await startNode(host, { volumeDir: pool, driver: 'image', flags }));
  const owned = stack.move();
  return { host, node, pool, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Writes that many MiB, or until the file system is full, and syncs the file; returns the error. */
async function write({ host }: OnPool, file: string, mebibytes = 100_000): Promise<string> {
  const args = ['if=/dev/urandom', `of=${file}`, 'bs=1M', `count=${mebibytes}`, 'conv=fsync'];
  const { code, stderr } = await host.exec('dd', args);
  return code === 0 ? '' : stderr;
}

const inVolume = ({ node }: OnPool, volume: string) => join(node.mountpoint(volume), 'data');

async function conditions({ node }: OnPool): Promise<string> {
  return (await node.status()).conditions.map(({ message }) => message).join('\n');
}

async function eventKinds({ node }: OnPool): Promise<string[]> {
  return (await node.events()).map(({ kind }) => kind);
}

const mount = ({ node }: OnPool, Name: string) => node.ok('Mount', { Name, ID: mountId });
const unmount = ({ node }: OnPool, Name: string) => node.ok('Unmount', { Name, ID: mountId });

describeWith(['root', 'loop', 'etcd'], 'the space of a pool', () => {
  test('a volume that is full takes nothing that another was promised, and no more can be promised', async () => {
    await using on = await startOnPool('ext4', 400);
    await on.node.create('good', { size: '160M' });
    await on.node.create('evil', { size: '160M' });
    const refused = await on.node.call('Create', { Name: 'more', Opts: { size: '160M' } });
    expect(refused.Err).toMatch(/has no room for 160 MiB more: 320 MiB are promised/);
    for (const name of ['good', 'evil']) await mount(on, name);
    expect(await write(on, inVolume(on, 'evil'))).toMatch(/No space left/);
    const copy = await on.node.call('Snapshot', { Name: 'evil', Snapshot: 's' });
    expect(copy.Err).toMatch(/has no room for 1\d\d MiB more/);
    expect(await write(on, inVolume(on, 'good'), 120)).toBe('');
    expect(await conditions(on)).not.toContain('stopped writing');
    for (const name of ['good', 'evil']) await unmount(on, name);
    for (const Name of ['good', 'evil']) await on.node.ok('Remove', { Name });
    expect(await on.node.call('Create', { Name: 'more', Opts: { size: '300M' } })).toMatchObject({
      Err: '',
    });
  });

  test.each(['ext4', 'xfs'] as const)(
    'a volume with reserved space on %s can be filled and changed while the pool is full',
    async (kind) => {
      await using on = await startOnPool(kind, 400, '--overcommit', '100');
      await on.node.create('db', { size: '100M', reserve: 'yes' });
      await mount(on, 'db');
      expect(await write(on, inVolume(on, 'db'), 10)).toBe('');
      await on.node.ok('Snapshot', { Name: 'db', Snapshot: 's' });
      await write(on, join(on.pool, 'ballast'));
      const big = await on.node.call('Create', {
        Name: 'no',
        Opts: { size: '200M', reserve: 'yes' },
      });
      expect(big.Err).toMatch(/the pool has too little free space|the disk is full/);
      for (let round = 0; round < 3; round += 1) {
        expect(await write(on, inVolume(on, 'db'), 70)).toBe('');
        await on.host.execOk('rm', inVolume(on, 'db'));
        await on.host.execOk('sync');
      }
      await unmount(on, 'db');
      await mount(on, 'db');
      expect(await write(on, inVolume(on, 'db'), 70)).toBe('');
      await unmount(on, 'db');
      await on.node.daemon.berthOk('snapshot', 'rm', 'db@s');
      await on.node.ok('Remove', { Name: 'db' });
    },
  );

  test('berth warns before a pool is full; what makes room works, and then all is well', async () => {
    await using on = await startOnPool('ext4', 200, '--overcommit', '100');
    await on.node.create('good', { size: '1G' });
    await on.node.create('evil', { size: '10G' });
    for (const name of ['good', 'evil']) await mount(on, name);
    expect(await conditions(on)).not.toContain('the pool');
    await write(on, inVolume(on, 'evil'), 150);
    await waitFor(
      async () => /nearly full \(\d of 1\d\d MiB/.test(await conditions(on)),
      20_000,
      'the condition of a pool that fills',
    );
    await write(on, inVolume(on, 'evil'));
    expect(await eventKinds(on)).toContain('pool-filling');

    for (const name of ['good', 'evil']) await unmount(on, name);
    await on.node.ok('Remove', { Name: 'evil' });
    await mount(on, 'good');
    expect(await write(on, inVolume(on, 'good'), 20)).toBe('');
    expect(await conditions(on)).not.toContain('the pool');
    expect(await eventKinds(on)).toContain('pool-has-room');
    await unmount(on, 'good');
  });

  test.each(['ext4', 'xfs'] as const)(
    'a mounted file system of %s that has stopped writing after an error is named until it is mounted again',
    async (fs) => {
      await using on = await startOnPool('ext4', 500);
      await on.node.create('db', { size: '300M', fs });
      await mount(on, 'db');
      expect(await conditions(on)).toBe('');
      const mountpoint = on.node.mountpoint('db');
      const device = (await on.host.execOk('findmnt', '-no', 'SOURCE', mountpoint)).trim();
      const fail = {
        ext4: `echo 1 > /sys/fs/ext4/${basename(device)}/trigger_fs_error`,
        xfs: `xfs_io -x -c shutdown ${mountpoint}`,
      }[fs];
      await on.host.execOk('sh', '-c', fail);
      expect(await write(on, inVolume(on, 'db'), 1)).not.toBe('');
      expect(await conditions(on)).toMatch(/^the file system of volume db has stopped writing/);
      expect(await on.node.events()).toContainEqual(
        expect.objectContaining({ kind: 'read-only', volume: 'db' }),
      );

      await unmount(on, 'db');
      await mount(on, 'db');
      expect(await write(on, inVolume(on, 'db'), 1)).toBe('');
      expect(await conditions(on)).toBe('');
      await unmount(on, 'db');
    },
  );

  test('two hosts that create volumes, or make them larger, at one moment together promise no more than there is', async () => {
    await using disk = await makeFileSystem('ext4', 400);
    await using cluster = await startBareCluster();
    const options = { volumeDir: disk.path, driver: 'image' } as const;
    const nodes = [await cluster.join('n1', options), await cluster.join('n2', options)];
    const refusals: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      const answers = await Promise.all(
        nodes.map((node, index) =>
          node.call('Create', { Name: `v${index}`, Opts: { size: '200M' } }),
        ),
      );
      refusals.push(...answers.flatMap(({ Err }) => Err || []));
      const made = answers.findIndex(({ Err }) => !Err);
      await nodes[made]?.ok('Remove', { Name: `v${made}` });
    }
    // The other one is recorded by then, or still being made on a slow disk. It never counts twice.
    const promised =
      /has no room for 200 MiB more: (200 MiB are promised to volumes|0 MiB are promised to volumes, 200 MiB to operations that are under way,) and/;
    expect(refusals).toEqual(Array(5).fill(expect.stringMatching(promised)));
    for (const [index, node] of nodes.entries()) await node.create(`g${index}`, { size: '100M' });
    const grown = await Promise.all(
      nodes.map(({ daemon }, index) => daemon.berth('volume', 'resize', `g${index}`, '200M')),
    );
    expect(grown.filter(({ code }) => code === 0)).toHaveLength(1);
    expect(grown.map(({ stderr }) => stderr).join('')).toContain('has no room for 100 MiB more');
    expect(
      await cluster.etcd.ctlOk('get', '--prefix', '--keys-only', '/berth/records/promises/'),
    ).toBe('');
  });
});
