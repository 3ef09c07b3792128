// A store that was wiped, or partly deleted, under hosts that remember what was in it. etcd, the daemons and the
// mounts are real; the test makes the engine's calls.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { wipe } from '../../support/etcd-backup.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { leases, startBareCluster } from '../hosts/bare-cluster.ts';
import type { Node } from '../hosts/node.ts';

const [ID, ID2] = ['a'.repeat(64), 'b'.repeat(64)];
const berth = { ttl: '10s', lockTimeout: '2s' };

/** The condition. */
const lost = /record of the cluster is missing|has lost records/;

type Deletion = (cluster: BareCluster) => Promise<unknown>;
const ways: readonly (readonly [string, Deletion])[] = [
  ['all data of etcd', ({ etcd }) => wipe(etcd)],
  ['all keys below the prefix', ({ etcd }) => etcd.ctlOk('del', '--prefix', '/berth/')],
  ['all records', ({ etcd }) => etcd.ctlOk('del', '--prefix', '/berth/records/')],
];

describeWith(['root', 'etcd'], 'hosts whose store has lost its records', () => {
  test.each(ways)(
    'without %s, they list the volumes, change nothing, and put everything back',
    async (_what, deletion) => {
      await using cluster = await startBareCluster();
      const [one, two] = [await cluster.join('n1', berth), await cluster.join('n2', berth)];
      await setUp(one);
      await remembered(two, '"idle"', 'trash/old/');

      await deletion(cluster);
      for (const node of [one, two]) {
        await waitFor(() => says(node, lost), 15_000, 'the condition');
        expect(await list(node)).toEqual(['copied', 'db', 'idle']);
        expect((await node.ok('Get', { Name: 'idle' })).Volume).toMatchObject({
          Status: { driver: 'directory', record: expect.stringMatching(/lost/) },
        });
        expect(await node.daemon.berthOk('volume', 'ls')).toMatch(/lost the records of: /);
        expect((await node.events()).map(({ kind }) => kind)).toContain('records-lost');
        await expectRefused(node);
      }
      // What is mounted here stays mounted and in use, also after the end of its session.
      await waitFor(
        async () => (await keys(cluster, 'claims/db/')).length === 1,
        15_000,
        'the claim',
      );
      await endSessions(cluster);
      await waitFor(() => isHeld(one, 'db'), 15_000, 'the lock to be acquired again');
      expect(await one.mountCount('db')).toBe(1);
      await one.ok('Mount', { Name: 'db', ID: ID2 });

      const look = await one.daemon.berth('doctor');
      expect(look.code).toBe(1);
      expect(look.stdout).toMatch(
        /^idle is missing .*put it back: berth doctor --restore-records/m,
      );
      expect(await keys(cluster, 'volumes/')).toEqual([]);
      expect(await two.daemon.berthOk('doctor', '--restore-records')).toMatch(/^fixed: idle /m);
      for (const node of [one, two]) {
        await waitFor(async () => !(await says(node, lost)), 15_000, 'all to be there');
        expect(await list(node)).toEqual(['copied', 'db', 'idle']);
        expect(await node.daemon.berthOk('doctor', '--restore-records')).toMatch(
          /has lost no record/,
        );
      }
      expect(await two.daemon.berthOk('volume', 'ls', '--trash')).toMatch(/old/);
      expect(await two.daemon.berthOk('snapshot', 'ls', 'db')).toMatch(/monday/);
      // Usable again without a restart, by the locks of the new history.
      await waitFor(
        async () => (await two.call('Mount', { Name: 'idle', ID })).Err === '',
        30_000,
        'a mount',
      );
      expect((await two.call('Mount', { Name: 'db', ID })).Err).toMatch(/mounted on host n1/);
      for (const id of [ID, ID2]) await one.ok('Unmount', { Name: 'db', ID: id });
      await two.ok('Mount', { Name: 'db', ID });
      for (const name of ['db', 'idle']) await two.ok('Unmount', { Name: name, ID });
      await two.ok('Remove', { Name: 'copied' });
      await one.create('new');
      expect((await one.daemon.berth('doctor')).stdout).toBe('nothing is wrong\n');
    },
  );
});

/** Ends the sessions of all hosts, whose requests nobody else makes. */
async function endSessions({ etcd }: BareCluster): Promise<void> {
  for (const lease of await leases(etcd)) {
    if (!(await etcd.ctlOk('lease', 'timetolive', lease, '--keys')).includes('quarantine')) {
      await endSession(etcd, lease);
    }
  }
}

/** A session whose TTL ended since it was listed has ended, too. */
async function endSession(etcd: BareCluster['etcd'], lease: string): Promise<void> {
  const { code, stderr } = await etcd.ctl('lease', 'revoke', lease);
  if (code !== 0 && !stderr.includes('requested lease not found')) throw new Error(stderr);
}

async function isHeld(node: Node, volume: string): Promise<boolean> {
  const { mounts } = await node.status();
  return mounts.some((each) => each.volume === volume && each.lock === 'held');
}

/** A volume in use with a snapshot, one that is not, a copy, and a removed one in the trash. */
async function setUp(one: BareNode): Promise<void> {
  for (const name of ['db', 'idle', 'old']) await one.create(name, { keep: '1d' });
  await one.ok('Mount', { Name: 'db', ID });
  await one.daemon.berthOk('snapshot', 'create', 'idle@monday');
  await one.daemon.berthOk('snapshot', 'create', 'db@monday', '--live');
  await one.daemon.berthOk('copy', 'idle@monday', 'copied');
  await one.ok('Remove', { Name: 'old' });
}

async function expectRefused(node: Node): Promise<void> {
  const says = /record of the cluster is missing.*berth doctor --restore-records/;
  expect((await node.call('Create', { Name: 'new' })).Err).toMatch(says);
  expect((await node.call('Create', { Name: 'idle' })).Err).toMatch(says);
  expect((await node.call('Mount', { Name: 'idle', ID })).Err).toMatch(says);
  expect((await node.call('Remove', { Name: 'idle' })).Err).toMatch(says);
  // A host reads the whole store again when its history has changed; until then the doctor refuses for that.
  await waitFor(async () => (await node.status()).store.reachable, 15_000, 'the store to be read');
  for (const args of [
    ['snapshot', 'create', 'idle'],
    ['volume', 'set', 'idle', 'protect=yes'],
    ['copy', 'idle', 'other'],
    ['doctor', '--fix', '--delete', 'idle'],
  ]) {
    const { code, stderr } = await node.daemon.berth(...args);
    expect({ code: code !== 0, stderr }).toEqual({
      code: true,
      stderr: expect.stringMatching(says),
    });
  }
}

async function says(node: Node, what: RegExp): Promise<boolean> {
  return (await node.status()).conditions.some(({ message }) => what.test(message));
}

async function list(node: Node): Promise<string[]> {
  return (await node.ok('List')).Volumes.map(({ Name }) => Name).sort();
}

/** Waits until the file of the remembered records has all that. */
async function remembered(node: BareNode, ...texts: string[]): Promise<void> {
  const path = join(node.host.directory, 'berth/records.json');
  await waitFor(
    async () => {
      const text = await readFile(path, 'utf8').catch(() => '');
      return texts.every((each) => text.includes(each.replaceAll('"', '')));
    },
    10_000,
    'the records to be remembered',
  );
}

async function keys({ etcd }: BareCluster, below: string): Promise<string[]> {
  const found = await etcd.ctlOk('get', '--prefix', '--keys-only', `/berth/records/${below}`);
  return found.split('\n').filter(Boolean);
}
