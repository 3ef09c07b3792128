// Real daemons on an etcd with users, short-lived tokens and changed rights, and on an etcd with
// foreign keys. Mounts are real; no Docker engine. Time is real: tokens live for 2 s, sessions for
// 5 s.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Etcd } from '../../support/etcd-server.ts';
import { beforePollMs } from '../../support/eventually.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { etcdView } from '../../support/store-view.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';

const mountId = 'a'.repeat(64);
const root = ['--user', 'root:secret'];

describeWith(['root', 'etcd'], 'berth on an etcd with users', () => {
  let stack: AsyncDisposableStack;
  let directory: TemporaryDirectory;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    directory = stack.use(await makeTemporaryDirectory());
  });
  afterEach(() => stack.disposeAsync());

  /** Returns the etcd flags for tokens of this kind that live for two seconds. */
  async function tokenFlags(kind: 'simple' | 'JWT'): Promise<string[]> {
    if (kind === 'simple') return ['--auth-token-ttl', '2'];
    const [key, pub] = ['key.pem', 'pub.pem'].map((name) => join(directory.path, name));
    await runOk('openssl', ['genrsa', '-out', `${key}`, '2048']);
    await runOk('openssl', ['rsa', '-in', `${key}`, '-pubout', '-out', `${pub}`]);
    return ['--auth-token', `jwt,pub-key=${pub},priv-key=${key},sign-method=RS256,ttl=2s`];
  }

  async function start(kind: 'simple' | 'JWT'): Promise<BareCluster> {
    const cluster = stack.use(await startBareCluster({ flags: await tokenFlags(kind) }));
    const { etcd } = cluster;
    await etcd.ctlOk('user', 'add', 'root', '--new-user-password', 'secret');
    await etcd.ctlOk('user', 'grant-role', 'root', 'root');
    await etcd.ctlOk('role', 'add', 'volumes');
    const permission = ['grant-permission', 'volumes', '--prefix=true', 'readwrite', '/berth/'];
    await etcd.ctlOk('role', ...permission);
    await etcd.ctlOk('user', 'add', 'berth', '--new-user-password', 'quay');
    await etcd.ctlOk('user', 'grant-role', 'berth', 'volumes');
    await etcd.ctlOk('auth', 'enable');
    return cluster;
  }

  async function joined(cluster: BareCluster, name: string): Promise<BareNode> {
    const passwordFile = join(directory.path, 'password');
    await writeFile(passwordFile, 'quay\n');
    const flags = ['--etcd-user', 'berth', '--etcd-password-file', passwordFile];
    return cluster.join(name, { ttl: '5s', lockTimeout: '5s', flags });
  }

  async function setPassword(etcd: Etcd, password: string): Promise<void> {
    await etcd.ctlOk(...root, 'user', 'delete', 'berth');
    await etcd.ctlOk(...root, 'user', 'add', 'berth', '--new-user-password', password);
    await etcd.ctlOk(...root, 'user', 'grant-role', 'berth', 'volumes');
  }

  /** Checks the errors that people read while etcd answers, but refuses. */
  async function expectRefusal(node: BareNode, why: RegExp): Promise<void> {
    const startedAt = performance.now();
    const { Err } = await node.call('Create', { Name: 'fresh', Opts: null });
    expect(Err).toMatch(why);
    expect((await node.call('Mount', { Name: 'idle', ID: mountId })).Err).toMatch(why);
    expect(performance.now() - startedAt).toBeLessThan(60_000);
    const status = await node.daemon.berth('status');
    expect(status.stdout).toMatch(why);
    expect(`${Err}${status.stdout}`).not.toMatch(/does not answer/);
    expect((await node.ok('List')).Volumes.map(({ Name }) => Name)).toEqual(['idle', 'used']);
  }

  test.each(['simple', 'JWT'] as const)(
    'a daemon outlives its %s tokens, and reports why etcd refuses it',
    async (kind) => {
      const cluster = await start(kind);
      const { etcd } = cluster;
      const asRoot = (...args: string[]) => etcd.ctlOk(...root, ...args);
      const store = etcdView({ ...etcd, ctlOk: asRoot });
      const n1 = await joined(cluster, 'n1');
      const n2 = await joined(cluster, 'n2');
      await n1.create('idle');
      await n1.create('used');
      await n1.ok('Mount', { Name: 'used', ID: mountId });
      const before = await n1.table();

      // Longer than tokens and sessions live: both are renewed, and the watch goes on.
      await delay(7_000);
      expect(await n1.table()).toEqual(before);
      expect(await store.locks()).toEqual(['mount/used']);
      const waiting = n2.ok('Mount', { Name: 'used', ID: mountId });
      await waitFor(async () => (await store.locks()).length === 2, 5_000, 'n2 to wait');
      await n1.ok('Unmount', { Name: 'used', ID: mountId });
      const freedAt = performance.now();
      await waiting;
      expect(performance.now() - freedAt).toBeLessThan(beforePollMs);
      if (kind === 'simple') return; // With simple tokens etcd takes seconds to refuse, in the same way.

      await asRoot('user', 'revoke-role', 'berth', 'volumes');
      await expectRefusal(n1, /etcd refuses: permission denied; grant the user a role/);
      await asRoot('user', 'grant-role', 'berth', 'volumes');
      await n1.ok('Mount', { Name: 'idle', ID: mountId });
      await n1.ok('Unmount', { Name: 'idle', ID: mountId });

      await setPassword(etcd, 'wharf');
      await expectRefusal(n1, /etcd refuses: the user or the password is wrong/);
      await setPassword(etcd, 'quay');
      await n1.create('fresh');
      // etcd refused n2 too, perhaps for longer than the TTL: n2 writes its lock back then.
      await waitFor(
        async () => String(await store.locks()) === 'mount/used',
        10_000,
        'n2 to have its lock',
      );
      await waitFor(
        async () => (await n1.daemon.berth('status')).code === 0,
        10_000,
        'the watch to work again',
      );
      expect((await n2.table()).map(({ volume }) => volume)).toEqual(['used']);
      await n2.ok('Unmount', { Name: 'used', ID: mountId });
    },
  );
});

describeWith(['root', 'etcd'], 'berth on an etcd in which another program has written', () => {
  test('a daemon names the foreign key, refuses what it affects, and goes on with everything else', async () => {
    await using cluster = await startBareCluster();
    const node = await cluster.join('n1', { lockTimeout: '1s' });
    await node.create('hit');
    await node.create('well');
    const lock = '/berth/locks/mount%2Fhit/x/scribble';
    await cluster.etcd.ctlOk('put', lock, 'not a ticket');
    await cluster.etcd.ctlOk('put', '/berth/records/volumes/odd', 'not a record');

    const { Err } = await node.call('Mount', { Name: 'hit', ID: mountId });
    expect(Err).toContain(`etcd holds something at ${lock} that berth did not write; remove it`);
    expect((await node.call('Mount', { Name: 'odd', ID: mountId })).Err).toMatch(
      /the record of volume odd is not one .* remove the store's key records\/volumes\/odd/,
    );
    // The same holds for a daemon that starts later.
    const other = await cluster.join('n2', { lockTimeout: '1s' });
    for (const each of [node, other]) {
      await each.ok('Mount', { Name: 'well', ID: mountId });
      await each.ok('Unmount', { Name: 'well', ID: mountId });
      const names = (await each.ok('List')).Volumes.map(({ Name }) => Name);
      expect(names.sort()).toEqual(['hit', 'odd', 'well']); // The engine would take a missing one for removed.
      const status = await each.daemon.berth('status');
      expect(status.stdout).toContain(`error: etcd holds something at ${lock}`);
      expect(status.stdout).not.toMatch(/does not answer|NOT REACHABLE|watch/);
    }
    expect(await node.mountCount('hit')).toBe(0);

    await cluster.etcd.ctlOk('del', lock);
    await node.ok('Mount', { Name: 'hit', ID: mountId });
    expect((await node.daemon.berth('status')).stdout).not.toContain('did not write');
  });
});

describeWith(['root', 'etcd'], 'berth on an etcd in which somebody has put hostile records', () => {
  test('security E2: a record never leads out of the pool, is shown as unreadable, and stops nothing', async () => {
    await using cluster = await startBareCluster();
    await using victims = await makeTemporaryDirectory();
    const node = await cluster.join('n1', { lockTimeout: '1s' });
    await node.create('well');
    await node.create('plain');
    await mkdir(join(victims.path, 'data'));
    await writeFile(join(victims.path, 'data/precious'), 'precious');
    const out = relative(join(cluster.volumeDir, 'directory'), victims.path);
    const [record] = JSON.parse(
      await cluster.etcd.ctlOk('get', '/berth/records/volumes/well', '-w', 'json'),
    ).kvs;
    const value = JSON.parse(Buffer.from(record.value, 'base64').toString());
    const put = (key: string, change: object) =>
      cluster.etcd.ctlOk('put', `/berth/records/${key}`, JSON.stringify({ ...value, ...change }));
    await put('volumes/evil', { name: out });
    await put('volumes/shots', {
      name: 'shots',
      snapshots: [{ name: `../../${out}`, createdAt: '' }],
    });
    await put('volumes/words', { name: 'words', options: { 'mount-options': 'subdir=/etc' } });
    await put('volumes/newer', { name: 'newer', version: 9 });
    await put(`volumes/${out}`, { name: out });
    await put('claims/plain/m1', { version: 2 });
    await put('evictions/plain', { volume: 'well', token: 1, by: 'n9', nonce: 'x' });
    await put('pools/image', { state: 'odd' });
    await put('volumes/well', { name: 'well', token: value.token }); // A good one is left as it is.

    const unreadable = ['evil', 'newer', 'shots'];
    const list = async () => (await node.ok('List')).Volumes.map(({ Name }) => Name).sort();
    const all = [...unreadable, 'plain', 'well', 'words'].sort();
    await waitFor(
      async () => (await list()).length === all.length,
      5_000,
      'the records to be seen',
    );
    expect(await list()).toEqual(all);
    for (const name of unreadable) {
      const why = /is not one that this version of berth can read/;
      expect((await node.call('Remove', { Name: name })).Err).toMatch(why);
      expect((await node.call('Mount', { Name: name, ID: mountId })).Err).toMatch(why);
    }
    expect((await node.call('Remove', { Name: out })).Err).toMatch(/not a valid volume name/);
    expect((await node.call('Mount', { Name: 'words', ID: mountId })).Err).toBeTruthy();
    expect((await node.call('Mount', { Name: 'plain', ID: mountId })).Err).toMatch(
      /a claim on volume plain .*a later release has written it.*berth lock clear plain --token \d+ --host-gone --force/,
    );
    await node.ok('Mount', { Name: 'well', ID: mountId });

    const shown = await node.daemon.berthOk('volume', 'ls');
    expect(shown).toMatch(/^evil +UNREADABLE$/m);
    expect(shown).toMatch(/newer can't be used: a later release has written it/);
    expect(shown).toMatch(/^well +directory/m);
    const status = await node.daemon.berthOk('status');
    expect(status).toMatch(/warning: the record records\/volumes\/evil in the store can't be used/);
    expect(status).not.toMatch(/NOT REACHABLE/);
    const doctor = await node.daemon.berth('doctor', '--fix');
    expect(`${doctor.code} ${doctor.stderr}`).toBe('1 ');
    for (const key of ['volumes/evil', 'volumes/shots', 'volumes/newer', `volumes/${out}`]) {
      expect(doctor.stdout).toContain(
        `records/${key} is a record that this release of berth can't use`,
      );
    }
    expect(doctor.stdout).toMatch(/records\/evictions\/plain is a record .* another name/);
    expect(doctor.stdout).toMatch(/records\/pools\/image is a record/);
    expect(await readFile(join(victims.path, 'data/precious'), 'utf8')).toBe('precious');
    expect(await node.mountCount('words')).toBe(0);

    await node.ok('Unmount', { Name: 'well', ID: mountId });
    await cluster.etcd.ctlOk('del', '--prefix', '/berth/records/claims/plain/');
    await node.ok('Mount', { Name: 'plain', ID: mountId });
    await node.ok('Unmount', { Name: 'plain', ID: mountId });
  });
});
