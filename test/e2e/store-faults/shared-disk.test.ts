// A daemon whose state and volumes share a disk that a volume has filled, and a state directory that
// other users can enter. A real tmpfs and ext4, SQLite, real mounts and users; no Docker engine.

import { chmod, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);

describeWith(['root', 'loop'], 'a disk with the state and the volumes', () => {
  test.each(['space', 'inodes'])(
    'a volume that takes all %s can be unmounted and removed, and then all is well',
    async (what) => {
      await using disk = await makeFileSystem('ext4', 200);
      await using host = await startBareHost('n1');
      const stateDir = join(host.directory, 'berth');
      await mkdir(stateDir);
      await host.execOk('mount', '--bind', disk.path, stateDir);
      await using node = await startNode(host, { volumeDir: join(stateDir, 'volumes') });
      for (const name of ['culprit', 'other']) await node.create(name);
      await node.daemon.berthOk('snapshot', 'create', 'other@s');
      await node.ok('Mount', { Name: 'culprit', ID: mountId });
      const fill = {
        space: 'for bs in 1M 4k 512; do dd if=/dev/zero of=fill-$bs bs=$bs; done; sync',
        inodes: 'i=0; while : > $i; do i=$((i+1)); done',
      }[what];
      await host.exec('sh', ['-c', `cd ${node.mountpoint('culprit')} && ${fill}`]);

      expect((await node.call('Create', { Name: 'more', Opts: null })).Err).not.toBe('');
      const status = await node.daemon.berth('status');
      expect(status.stdout).toContain('the file system of the state directory');
      await node.ok('Unmount', { Name: 'culprit', ID: mountId });
      await node.daemon.berthOk('snapshot', 'rm', 'other@s');
      await node.ok('Remove', { Name: 'other' });
      await node.ok('Remove', { Name: 'culprit' });
      await node.create('more');
      expect(await readdir(host.pathOf(stateDir))).toContain('reserve');
      expect((await node.daemon.berth('status')).stdout).not.toContain('is full');
    },
  );

  test('no other user can read the state, so none can lock it, also after an upgrade', async () => {
    await using host = await startBareHost('n1');
    const stateDir = join(host.directory, 'berth');
    await mkdir(stateDir, { mode: 0o755 });
    await chmod(host.directory, 0o755);
    await using node = await startNode(host);
    await node.create('db');
    const open = async () => {
      const names = await readdir(stateDir);
      const modes = await Promise.all(
        names.map(async (name) => ({
          name,
          mode: (await stat(join(stateDir, name))).mode & 0o077,
        })),
      );
      return modes.filter(({ mode }) => mode !== 0).map(({ name }) => name);
    };
    expect(await open()).toEqual([]);
    const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--', 'cat'];
    const read = await host.exec('setpriv', [...asNobody, join(stateDir, 'berth.db-shm')]);
    expect(read.stderr).toContain('Permission denied');

    // As an earlier release left them.
    for (const name of ['berth.db', 'berth.db-wal', 'berth.db-shm', 'daemon.lock'])
      await chmod(join(stateDir, name), 0o644);
    await node.daemon.kill();
    await node.daemon.start();
    expect(await open()).toEqual([]);
  });
});
