// A daemon on the embedded store, whose file is put back, cut off or loses its log. The daemon, the
// file and the mounts are real; the test makes the engine's calls.

import { copyFile, readFile, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';

const [ID, ID2] = ['a'.repeat(64), 'b'.repeat(64)];

describeWith(['root'], 'a daemon whose lock file is not as it left it', () => {
  let stack: AsyncDisposableStack;
  let host: BareHost;
  let node: Node;
  let path: string;

  /** The daemon has mounted `old`; a copy of its file is older than `young`, which it has mounted, too. */
  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    host = stack.use(await startBareHost('n1'));
    node = stack.use(await startNode(host, { lockTimeout: '2s' }));
    path = join(host.directory, 'berth/berth.db');
    await node.create('old');
    await node.ok('Mount', { Name: 'old', ID });
    await node.daemon.kill();
    for (const end of ['', '-wal']) await copyFile(path + end, `${path}${end}.copy`);
    await node.daemon.start();
    await node.create('young');
    await node.ok('Mount', { Name: 'young', ID });
    await node.create('free');
    const remembered = () => readFile(join(host.directory, 'berth/records.json'), 'utf8');
    await waitFor(
      async () => (await remembered()).includes('"volumes/free"'),
      10_000,
      'the records',
    );
  });
  afterEach(() => stack.disposeAsync());

  const conditions = async () => JSON.stringify(await node.status());
  const list = async () => (await node.ok('List')).Volumes.map(({ Name }) => Name).sort();

  /** Checks that nothing is granted, and that people learn why and what to do. */
  async function expectRefused(says: RegExp): Promise<void> {
    await waitFor(async () => says.test(await conditions()), 10_000, 'the condition');
    const { Err } = await node.call('Mount', { Name: 'free', ID });
    expect(Err).toMatch(says);
    expect(Err).toMatch(/berth doctor --accept-store/);
    expect(await node.events()).toContainEqual(
      expect.objectContaining({
        kind: 'history',
        severity: 'error',
        message: expect.stringMatching(says),
      }),
    );
    for (const volume of ['old', 'young']) expect(await node.mountCount(volume)).toBe(1);
  }

  /** Accepts the file: what is mounted stays mounted, and is free again after its Unmount. */
  async function accept(): Promise<void> {
    expect(await node.daemon.berthOk('doctor', '--accept-store')).toMatch(/used as it is/);
    await waitFor(
      async () => {
        const { mounts } = await node.status();
        return mounts.length === 2 && mounts.every(({ lock }) => lock === 'held');
      },
      10_000,
      'the locks of the mounts',
    );
    expect(await conditions()).not.toMatch(/accept-store/);
    await node.create('new');
    await node.ok('Mount', { Name: 'new', ID });
    await node.ok('Unmount', { Name: 'new', ID });
    for (const volume of ['old', 'young']) {
      expect(await node.mountCount(volume)).toBe(1);
      await node.ok('Unmount', { Name: volume, ID });
      expect(await node.mountCount(volume)).toBe(0);
    }
    expect(await node.daemon.berthOk('doctor', '--accept-store')).toMatch(/nothing to accept/);
    expect(await node.daemon.stop()).toBe(0);
    await node.daemon.start();
    await node.ok('Mount', { Name: 'old', ID: ID2 });
    await node.ok('Unmount', { Name: 'old', ID: ID2 });
  }

  /** Puts everything back: it can be used without a restart, and after one. */
  async function restore(says: RegExp): Promise<void> {
    expect(await node.daemon.berthOk('doctor', '--restore-records')).toMatch(says);
    expect(await conditions()).not.toMatch(/store was wiped|has lost records/);
    await node.ok('Mount', { Name: 'free', ID });
    await node.ok('Unmount', { Name: 'free', ID });
    await node.create('later');
    expect(await node.daemon.stop()).toBe(0);
    await node.daemon.start();
    await node.ok('Mount', { Name: 'later', ID });
    await node.ok('Unmount', { Name: 'later', ID });
    expect(await node.daemon.berthOk('doctor')).toBe('nothing is wrong');
  }

  test('put back from a copy while it was down, it grants nothing until that is accepted', async () => {
    await node.daemon.stop();
    for (const end of ['', '-wal']) await rename(`${path}${end}.copy`, path + end);
    await node.daemon.start();
    await expectRefused(/put back to an older state|put back from an older copy/);
    expect(await list()).toEqual(['free', 'old', 'young']);
    await accept();
    // What the copy lacks is listed, and refused, until it is put back.
    expect(await list()).toEqual(['free', 'new', 'old', 'young']);
    expect((await node.call('Mount', { Name: 'free', ID })).Err).toMatch(/--restore-records/);
    await node.ok('Mount', { Name: 'old', ID });
    await node.ok('Unmount', { Name: 'old', ID });
    await restore(/^fixed: free /m);
  });

  test('removed while it was down, everything is put back from what the host remembers', async () => {
    await node.daemon.stop();
    for (const end of ['', '-wal', '-shm']) await rm(path + end, { force: true });
    await node.daemon.start();
    await expectRefused(/it is missing/);
    expect(await list()).toEqual(['free', 'old', 'young']);
    await node.daemon.berthOk('doctor', '--accept-store');
    await waitFor(async () => /store was wiped/.test(await conditions()), 10_000, 'the condition');
    for (const volume of ['old', 'young']) expect(await node.mountCount(volume)).toBe(1);
    const { code, stdout } = await node.daemon.berth('doctor');
    expect([code, stdout]).toEqual([1, expect.stringMatching(/^free is missing in the store/m)]);
    expect((await node.call('Create', { Name: 'new' })).Err).toMatch(/--restore-records/);
    expect(await list()).toEqual(['free', 'old', 'young']);
    await restore(/^fixed: the record cluster was missing/m);
    for (const volume of ['old', 'young']) await node.ok('Unmount', { Name: volume, ID });
  });

  test('without its log after a crash, it grants nothing until that is accepted', async () => {
    await node.daemon.kill();
    await rm(`${path}-wal`);
    await node.daemon.start();
    await expectRefused(/its log \(-wal\) is missing/);
    // The log had everything since the first start.
    await rename(`${path}.copy`, path);
    await rename(`${path}-wal.copy`, `${path}-wal`);
    await accept();
  });

  test('cut off, it grants nothing until the latest file is back', async () => {
    await node.daemon.stop();
    await copyFile(path, `${path}.latest`);
    await truncate(path, (await stat(path)).size - 4_096);
    await node.daemon.start();
    await expectRefused(/cut off, or put back from an older copy \(it had \d+ bytes and has \d+\)/);
    const { code, stderr } = await node.daemon.berth('doctor', '--accept-store');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/damaged/);
    await node.daemon.stop();
    await rename(`${path}.latest`, path);
    await node.daemon.start();
    await node.ok('Mount', { Name: 'free', ID });
    expect(await conditions()).not.toMatch(/accept-store/);
    for (const volume of ['free', 'old', 'young']) await node.ok('Unmount', { Name: volume, ID });
  });

  test('replaced while it runs, it notices that, and grants nothing until that is accepted', async () => {
    await rename(`${path}.copy`, path);
    await expectRefused(/another file was put in its place/);
    await node.call('Unmount', { Name: 'young', ID: ID2 }); // Of nobody: it changes nothing.
    await accept();
  });
});
