// A daemon whose state directory is on a full disk, with locks in SQLite and in etcd. The disk is a
// real tmpfs of 4 MB; mounts are real; no Docker engine.

import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { startEtcd } from '../../support/etcd-server.ts';
import type { Network } from '../../support/network.ts';
import { startNetwork } from '../../support/network.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { StoreView } from '../../support/store-view.ts';
import { embeddedView, etcdView } from '../../support/store-view.ts';
import { storedMounts } from '../../support/stored-mounts.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';

const [ID, ID2] = ['a'.repeat(64), 'b'.repeat(64)];

/** The error that people read: what is wrong and what to do. */
const full = /the disk is full; free some space/;

describeWith(['root', 'etcd'], 'a host whose state directory is full', () => {
  let stack: AsyncDisposableStack;
  let network: Network;
  let host: BareHost;
  /** The file system that the host sees as its state directory. */
  let disk: string;
  let stateDir: string;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    disk = stack.use(await makeTemporaryDirectory()).path;
    // tmpfs counts in pages, and each file has its own: a full disk has no room for any file.
    await runOk('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk]);
    stack.defer(async () => {
      await runOk('umount', ['--lazy', disk]);
    });
    network = stack.use(await startNetwork());
    host = stack.use(await startBareHost('n1', network));
    stateDir = join(host.directory, 'berth');
    await mkdir(stateDir);
    await host.execOk('mount', '--bind', disk, stateDir);
  });
  afterEach(() => stack.disposeAsync());

  async function start(store?: string): Promise<Node> {
    const node = await startNode(host, store === undefined ? {} : { store });
    stack.use(node);
    return node;
  }

  async function fill(): Promise<void> {
    await host.exec('dd', ['if=/dev/zero', `of=${stateDir}/ballast`, 'bs=4096']);
  }
  const empty = () => host.execOk('sh', '-c', `rm ${stateDir}/ballast`);

  async function refusal(work: Promise<{ Err: string }>): Promise<string> {
    const startedAt = performance.now();
    const { Err } = await work;
    expect(performance.now() - startedAt).toBeLessThan(50_000);
    return Err;
  }
  const storage = async () =>
    (await host.execOk('sh', '-c', `ls ${host.directory}/volumes/directory`))
      .split('\n')
      .filter((name) => name !== '');

  async function rows(): Promise<string[]> {
    const text = await readFile(join(disk, 'mounts.json'), 'utf8');
    return storedMounts(text).map(({ volume }) => volume);
  }

  /** Mounts a volume until the disk refuses it: the table's last block may have room for some lines. */
  async function refusedMount(node: Node, Name: string): Promise<string> {
    for (let left = 50; left > 0; left--) {
      const err = await refusal(node.call('Mount', { Name, ID }));
      if (err !== '') return err;
      await node.ok('Unmount', { Name, ID });
    }
    return '';
  }

  async function goesThroughIt(node: Node, store: StoreView): Promise<void> {
    for (const name of ['idle', 'used', 'twice']) await node.create(name);
    await node.ok('Mount', { Name: 'used', ID });
    for (const each of [ID, ID2]) await node.ok('Mount', { Name: 'twice', ID: each });
    await fill();

    const mount = await refusedMount(node, 'idle');
    expect(mount).toMatch(full);
    expect(mount).toContain(stateDir);
    expect(await node.mountCount('idle')).toBe(0);
    const again = await refusal(node.call('Mount', { Name: 'used', ID: ID2 }));
    expect(again).toMatch(full);
    expect(await node.mountCount('used')).toBe(1);

    // An Unmount that leaves another user, and a last one, as when containers end.
    await node.ok('Unmount', { Name: 'twice', ID });
    expect(await node.mountCount('twice')).toBe(1);
    await node.ok('Unmount', { Name: 'used', ID });
    expect(await node.mountCount('used')).toBe(0);
    expect((await node.daemon.berth('status')).stdout).toMatch(full);

    await empty();
    await waitFor(
      async () => (await store.locks()).join() === 'mount/twice',
      5_000,
      'the locks to be released',
    );
    await waitFor(async () => (await rows()).join() === 'twice', 5_000, 'the table of mounts');
    for (const Name of ['idle', 'used']) {
      await node.ok('Mount', { Name, ID: ID2 });
      expect(await node.mountCount(Name)).toBe(1);
      await node.ok('Unmount', { Name, ID: ID2 });
    }
    await node.ok('Unmount', { Name: 'twice', ID: ID2 });
    expect(await node.mountCount('twice')).toBe(0);
    expect(await store.locks()).toEqual([]);
    expect(await rows()).toEqual([]);
  }

  test("when the store is full, slow or failing: with SQLite, it refuses changes it can't record, and still unmounts", async () => {
    const node = await start();
    const store = embeddedView(join(disk, 'berth.db'));
    await goesThroughIt(node, store);

    const records = Object.keys(await store.records());
    await fill();
    expect(await refusal(node.call('Create', { Name: 'fresh', Opts: null }))).toMatch(
      /the lock file \S+ can't be used: the disk is full/,
    );
    expect(await store.locks()).toEqual([]);
    expect(Object.keys(await store.records())).toEqual(records);
    expect(await storage()).toEqual(['idle', 'twice', 'used']);
    await empty();
    await node.create('fresh');
    expect((await node.daemon.berth('status')).code).toBe(0);
  });

  test("with etcd, too, it refuses changes it can't record, and still unmounts", async () => {
    const etcd = stack.use(await startEtcd({ in: network }));
    const node = await start(etcd.url);
    await goesThroughIt(node, etcdView(etcd));
  });
});
