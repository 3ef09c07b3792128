// `berth doctor` against every kind of leftover, on two real daemons with etcd and real mounts; no
// Docker engine.

import { mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { visibleNames } from '../../../lib/volumes/drivers/stored-volume.ts';
import { runBerth } from '../../support/berth-command.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import { blockProgram } from '../hosts/block-program.ts';

const mountId = 'd'.repeat(64);
const anyTime = expect.stringMatching(/^20\d\d-/);

describeWith(['root', 'etcd'], 'berth doctor', () => {
  let cluster: BareCluster;
  let node: BareNode;
  let other: BareNode;
  let base: string;

  beforeAll(async () => {
    cluster = await startBareCluster();
    [node, other] = await Promise.all([
      cluster.join('n1', { ttl: '6s', lockTimeout: '300ms' }),
      cluster.join('n2', { ttl: '6s', lockTimeout: '300ms' }),
    ]);
    base = join(cluster.volumeDir, 'directory');
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    expect(await berth('doctor')).toEqual({
      exitCode: 0,
      stdout: 'nothing is wrong\n',
      stderr: '',
    });
    expect(await cluster.store.locks()).toEqual([]);
  });

  const berth = (command: string, on = node) =>
    runBerth(command, { path: on.host.pathOf('/run/berth/admin.sock') });

  /** Returns the doctor's findings and checks that its exit code agrees. */
  async function doctor(flags = '', on = node): Promise<unknown[]> {
    const { exitCode, stdout } = await berth(`doctor --json ${flags}`.trim(), on);
    const { findings } = JSON.parse(stdout);
    const isClean = findings.every(({ state }: { state: string }) => state === 'fixed');
    expect(exitCode).toBe(isClean ? 0 : 1);
    return findings;
  }

  async function withContent(name: string): Promise<void> {
    await node.create(name);
    await writeFile(join(base, name, 'data/file'), name);
  }

  test('the doctor finds nothing wrong with used volumes and running operations', async () => {
    await withContent('db');
    await node.ok('Snapshot', { Name: 'db', Snapshot: 'monday' });
    await node.ok('Mount', { Name: 'db', ID: mountId });
    await other.create('theirs');
    await other.ok('Mount', { Name: 'theirs', ID: mountId });
    for (const name of ['idle', 'calm']) await node.create(name);
    // Both operations run `rm` last: the storage is in place, and the record does not have it yet.
    const { began, release } = await blockProgram(node.host, 'rm');
    const copying = node.ok('Copy', { Name: 'calm', Target: 'copied' });
    const snapping = node.ok('Snapshot', { Name: 'idle', Snapshot: 'now' });
    await began(2);
    expect(await doctor('--fix')).toEqual([]);
    expect(await doctor('--fix', other)).toEqual([]);
    await release();
    await Promise.all([copying, snapping]);

    await node.ok('Unmount', { Name: 'db', ID: mountId });
    await other.ok('Unmount', { Name: 'theirs', ID: mountId });
    for (const what of ['db@monday', 'idle@now']) await berth(`snapshot rm ${what}`);
    for (const Name of ['db', 'copied', 'theirs', 'idle', 'calm'])
      await node.ok('Remove', { Name });
  });

  test('the doctor keeps a record without storage until an operator removes it', async () => {
    await withContent('gone');
    await rm(join(base, 'gone'), { recursive: true });
    const finding = {
      kind: 'record-without-storage',
      what: 'gone',
      message: 'has a record (made by host n1), but its storage is not here',
      since: anyTime,
      next: [expect.stringContaining('not mounted'), 'else drop the record: docker volume rm gone'],
      state: 'found',
    };
    expect(await doctor('', other)).toEqual([finding]);
    expect(await doctor('--fix')).toEqual([finding]);
    expect(await cluster.store.records()).toHaveProperty('gone');
    await node.ok('Remove', { Name: 'gone' });
  });

  test('the doctor removes storage without a record only if it is empty or named', async () => {
    for (const name of ['empty', 'kept', 'full'])
      await mkdir(join(base, name, 'data'), { recursive: true });
    await writeFile(join(base, 'kept/data/file'), 'content');
    await writeFile(join(base, 'full/data/file'), 'content');
    const finding = (what: string) => ({
      kind: 'storage-without-record',
      what,
      message: 'has storage of driver directory, with content, but no record',
      since: anyTime,
      next: [
        `keep it: docker volume create -d berth -o driver=directory -o adopt=yes ${what}`,
        `delete it: berth doctor --fix --delete ${what}`,
      ],
      state: 'found',
    });
    expect(await doctor()).toMatchObject([
      { what: 'empty', fix: 'removes it', state: 'found' },
      finding('full'),
      finding('kept'),
    ]);
    expect(await doctor('--fix')).toMatchObject([
      { what: 'empty', state: 'fixed' },
      finding('full'),
      finding('kept'),
    ]);
    expect(await visibleNames(base)).toEqual(['full', 'kept']);

    const mistyped = await berth('doctor --fix --delete ful --delete full');
    expect(mistyped.exitCode).toBe(3);
    expect(mistyped.stderr).toMatch(/no storage without a record called ful; .* full, kept/);
    expect(await berth('doctor --delete full')).toMatchObject({ exitCode: 2 });
    expect(await visibleNames(base)).toEqual(['full', 'kept']);

    await node.create('kept', { driver: 'directory', adopt: 'yes' });
    expect(await doctor('--fix --delete full')).toMatchObject([{ what: 'full', state: 'fixed' }]);
    expect(await readFile(join(base, 'kept/data/file'), 'utf8')).toBe('content');
    expect(await visibleNames(base)).toEqual(['kept']);
    await node.ok('Remove', { Name: 'kept' });
  });

  test('the doctor finds snapshots that only the record or only the disk has', async () => {
    await withContent('db');
    for (const Snapshot of ['lost', 'good']) await node.ok('Snapshot', { Name: 'db', Snapshot });
    const snapshots = join(base, 'db/snapshots');
    await rename(join(snapshots, 'lost'), join(snapshots, 'extra'));
    // The result is the same while the volume is mounted, on whichever host.
    await other.ok('Mount', { Name: 'db', ID: mountId });
    expect(await doctor()).toMatchObject([
      { kind: 'snapshot-without-storage', what: 'db@lost', fix: 'drops it from the record' },
      {
        kind: 'snapshot-without-record',
        what: 'db@extra',
        next: [
          'replace it with the present content of the volume: berth snapshot create db@extra',
          'delete it: berth doctor --fix --delete db@extra',
        ],
      },
    ]);
    expect(await doctor('--fix')).toMatchObject([{ state: 'fixed' }, { state: 'found' }]);
    expect(await cluster.store.records()).toMatchObject({ db: { snapshots: [{ name: 'good' }] } });
    expect(await readdir(snapshots)).toEqual(['extra', 'good']);
    expect(await doctor('--fix --delete db@extra')).toMatchObject([{ state: 'fixed' }]);
    expect(await readdir(snapshots)).toEqual(['good']);
    await other.ok('Unmount', { Name: 'db', ID: mountId });
    await berth('snapshot rm db@good');
    await node.ok('Remove', { Name: 'db' });
  });

  test.each(['before', 'after'])(
    'the doctor completes or rolls back a restore interrupted %s its new content was in place',
    async (moment) => {
      await withContent('db');
      await rename(join(base, 'db/data'), join(base, 'db/data.old'));
      if (moment === 'after') {
        await mkdir(join(base, 'db/data'));
        await writeFile(join(base, 'db/data/file'), 'restored');
      }
      const line =
        'db a restore of it was interrupted; berth doctor --fix completes the restore, or rolls it back\n';
      expect(await berth('doctor')).toEqual({ exitCode: 1, stdout: line, stderr: '' });
      expect(await doctor('--fix')).toMatchObject([{ what: 'db', state: 'fixed' }]);
      expect(await readdir(join(base, 'db'))).toEqual(['data', 'snapshots']);
      expect(await readFile(join(base, 'db/data/file'), 'utf8')).toBe(
        moment === 'after' ? 'restored' : 'db',
      );
      await node.ok('Remove', { Name: 'db' });
    },
  );

  test('when work is interrupted: the doctor removes the remains of a dead copy and keeps those of a running one', async () => {
    const [old, fresh] = [join(base, '.tmp-old'), join(base, '.tmp-fresh')];
    await mkdir(join(old, 'volume/data'), { recursive: true });
    await mkdir(fresh);
    const before = new Date(Date.now() - 25 * 60 * 60 * 1000);
    await utimes(old, before, before);
    expect(await doctor()).toMatchObject([{ kind: 'leftover', what: old, since: anyTime }]);
    expect(await doctor('--fix')).toMatchObject([{ what: old, state: 'fixed' }]);
    expect((await readdir(base)).sort()).toEqual(['.berth-pool', '.tmp-fresh']);
    await rm(fresh, { recursive: true });
  });

  test('the doctor unmounts an unknown mount unless a process or another host uses the volume', async () => {
    await withContent('db');
    const mountpoint = node.mountpoint('db');
    await node.host.execOk('mkdir', '-p', mountpoint);
    await node.host.execOk('mount', '--bind', join(base, 'db/data'), mountpoint);
    const finding = { kind: 'stray-mount', what: 'db', fix: 'unmounts it, unless it is in use' };
    expect(await doctor()).toMatchObject([finding]);
    expect(await doctor('', other)).toEqual([]);

    await other.ok('Mount', { Name: 'db', ID: mountId });
    expect(await doctor('--fix')).toMatchObject([
      { ...finding, state: 'failed', error: expect.stringMatching(/db is held by another/) },
    ]);
    await other.ok('Unmount', { Name: 'db', ID: mountId });

    const user = node.host.spawn('sh', ['-c', `cd ${mountpoint} && exec sleep 60`]);
    await waitFor(
      async () => (await node.host.exec('fuser', ['-m', mountpoint])).code === 0,
      5_000,
      'a user',
    );
    expect(await doctor('--fix')).toMatchObject([
      { ...finding, state: 'failed', error: expect.stringMatching(/in use by sleep \(pid/) },
    ]);
    user.kill('SIGKILL');
    await user.finished;
    expect(await doctor('--fix')).toMatchObject([{ ...finding, state: 'fixed' }]);
    expect(await node.mountCount('db')).toBe(0);
    expect(await readFile(join(base, 'db/data/file'), 'utf8')).toBe('db');
    await node.ok('Remove', { Name: 'db' });
  });

  test('the doctor finds a mount that berth forgot with its mount table', async () => {
    await withContent('db');
    await node.ok('Mount', { Name: 'db', ID: mountId });
    await node.daemon.kill();
    await rm(join(node.host.directory, 'berth/mounts.json'));
    await waitFor(
      async () => (await cluster.store.locks()).length === 0,
      20_000,
      'the lock to expire: the mount would be taken over with it',
    );
    await node.daemon.start();
    const finding = { kind: 'stray-mount', what: 'db' };
    expect(await doctor()).toMatchObject([finding]);
    expect(await doctor('--fix')).toMatchObject([{ ...finding, state: 'fixed' }]);
    await node.ok('Remove', { Name: 'db' });
  });

  test('the doctor finds a mount whose lock was cleared, and a mount that vanished', async () => {
    await node.create('db', { 'on-lost': 'keep' });
    await node.ok('Mount', { Name: 'db', ID: mountId });
    const [row] = await node.table();
    await other.daemon.berthOk('lock', 'disable', 'db');
    await other.daemon.berthOk('lock', 'clear', 'db', '--token', `${row?.ticket.token}`, '--force');
    const finding = { kind: 'mount-without-lock', what: 'db' };
    await waitFor(async () => (await doctor()).length > 0, 5_000, 'the finding');
    expect(await doctor('--fix')).toMatchObject([{ ...finding, state: 'failed' }]);
    await other.daemon.berthOk('lock', 'enable', 'db');
    // Fixed at once, unless the daemon had already done it.
    for (const outcome of await doctor('--fix')) expect(outcome).toMatchObject({ state: 'fixed' });
    expect(await doctor()).toEqual([]);
    await node.host.execOk('umount', node.mountpoint('db'));
    expect(await doctor()).toMatchObject([{ kind: 'mount-gone', what: 'db' }]);
    await node.ok('Unmount', { Name: 'db', ID: mountId });
    await node.ok('Remove', { Name: 'db' });
  });

  test('the doctor reports a store that does not answer', async () => {
    await cluster.etcd.kill();
    try {
      await waitFor(
        async () => (await berth('doctor')).exitCode === 5,
        5_000,
        'the outage to be noticed',
      );
      expect((await berth('doctor --fix')).stderr).toMatch(/the store can't be reached/);
    } finally {
      await cluster.etcd.restart();
    }
    await waitFor(
      async () => (await berth('status')).exitCode === 0,
      15_000,
      'the store to answer',
    );
    await waitFor(
      async () => (await berth('doctor')).exitCode === 0,
      15_000,
      'the doctor to find nothing',
    );
  });
});
