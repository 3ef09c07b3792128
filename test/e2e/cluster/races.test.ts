// Daemons that race for the same volumes: two or three real daemons, real etcd and mounts, no
// Docker engine. Nothing here depends on a TTL.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { visibleNames } from '../../../lib/volumes/drivers/stored-volume.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { mountedOn, startBareCluster } from '../hosts/bare-cluster.ts';

/** A longer run has TEST_RACES=1000. */
const races = Number(process.env.TEST_RACES ?? 300);

describeWith(['root', 'etcd'], 'daemons that race for volumes', () => {
  let cluster: BareCluster;
  let nodes: BareNode[];

  beforeAll(async () => {
    cluster = await startBareCluster();
    nodes = await Promise.all(
      ['n1', 'n2', 'n3'].map((name) => cluster.join(name, { lockTimeout: '20s' })),
    );
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  const onAll = (call: (node: BareNode, index: number) => Promise<{ Err: string }>) =>
    Promise.all(nodes.map(async (node, index) => (await call(node, index)).Err));

  test("defect A10, scenario 34: each of many races for one volume has one winner, whom the loser's error names", async () => {
    const racers = await Promise.all(
      ['r1', 'r2'].map((name) =>
        cluster.join(name, {
          lockTimeout: '0s',
          volumeDir: join(cluster.volumeDir, 'races'), // Another prefix is another cluster.
          flags: ['--prefix', '/races'],
        }),
      ),
    );
    const [first] = racers;
    await first?.create('prize');
    const wins: Record<string, number> = { r1: 0, r2: 0 };
    for (let race = 0; race < races; race += 1) {
      const body = { Name: 'prize', ID: `${race}`.padStart(64, '0') };
      const answers = await Promise.all(racers.map((racer) => racer.call('Mount', body)));
      const winners = racers.filter((_, index) => answers[index]?.Err === '');
      expect(winners).toHaveLength(1);
      const [winner] = winners;
      const refusal = answers.map(({ Err }) => Err).find((text) => text !== '');
      expect(refusal).toMatch(mountedOn(winner?.name ?? ''));
      wins[winner?.name ?? ''] = (wins[winner?.name ?? ''] ?? 0) + 1;
      await winner?.ok('Unmount', body);
    }
    process.stderr.write(`${races} races: ${JSON.stringify(wins)}\n`);
    for (const racer of racers) {
      expect(await racer.mountCount('prize')).toBe(0);
      expect(await racer.table()).toEqual([]);
      await racer.daemon.stop();
    }
    const keys = await cluster.etcd.ctlOk('get', '--prefix', '/races/', '--keys-only');
    // tidy-ok: the key of the mount mark in the store.
    const records = ['tenures/prize', 'uses/prize', 'volumes/prize'];
    const all = ['cluster', 'pools/directory', ...records].map((key) => `/races/records/${key}`);
    expect(keys.split('\n').filter(Boolean)).toEqual(['/races/history/current', ...all]);
  });

  test('scenario 42: a volume created on three hosts at once exists once, and all three succeed', async () => {
    for (let round = 0; round < 10; round += 1) {
      const Name = `same-${round}`;
      expect(await onAll((node) => node.call('Create', { Name, Opts: null }))).toEqual([
        '',
        '',
        '',
      ]);
    }
    expect(await cluster.store.locks()).toEqual([]);
  });

  test('of creates with different options for one name at once, one wins and the others are refused', async () => {
    const errors = await onAll((node, index) =>
      node.call('Create', { Name: 'odd', Opts: { access: index === 0 ? 'shared' : 'container' } }),
    );
    const { access } = (await cluster.store.records()).odd as { access: string };
    const losers = access === 'shared' ? errors.slice(1) : errors.slice(0, 1);
    const winners = errors.filter((error) => !losers.includes(error));
    expect(winners.every((error) => error === '')).toBe(true);
    for (const error of losers) expect(error).toContain('exists already with access=');
  });

  test('15 volumes created on three hosts at once leave 15 records and no temporary files', async () => {
    const names = Array.from({ length: 15 }, (_, index) => `many-${index}`).sort();
    const errors = await Promise.all(
      names.map((Name) => onAll((node) => node.call('Create', { Name, Opts: null }))),
    );
    expect(new Set(errors.flat())).toEqual(new Set(['']));
    const many = (all: readonly string[]) => all.filter((name) => name.startsWith('many-')).sort();
    expect(many(Object.keys(await cluster.store.records()))).toEqual(names);
    expect(many(await visibleNames(join(cluster.volumeDir, 'directory')))).toEqual(names);
    expect(await temporaries()).toEqual([]);
    expect(await cluster.store.locks()).toEqual([]);
    for (const node of nodes) {
      const { Volumes } = await node.ok('List');
      expect(many(Volumes.map(({ Name }) => Name))).toEqual(names);
    }
  });

  test('scenario 43: a Remove that races a Mount never deletes the data of a volume that was mounted', async () => {
    const [one, two] = nodes as [BareNode, BareNode];
    const outcomes = { removed: 0, mounted: 0 };
    for (let round = 0; round < 30; round += 1) {
      const Name = `tug-${round}`;
      const body = { Name, ID: 'a'.repeat(64) };
      await one.create(Name);
      const data = join(cluster.volumeDir, 'directory', Name, 'data');
      await writeFile(join(data, 'precious'), 'data');
      const mounting = () => two.call('Mount', body);
      const removing = () => one.call('Remove', { Name });
      const [mount, remove] =
        round % 2 === 0
          ? await Promise.all([mounting(), removing()])
          : (await Promise.all([removing(), mounting()])).reverse();
      const mountError = mount?.Err ?? 'no answer';
      if (mountError === '') {
        outcomes.mounted += 1;
        expect(remove?.Err).toMatch(mountedOn('n2'));
        const inside = two.host.pathOf(join(two.mountpoint(Name), 'precious'));
        expect(await readFile(inside, 'utf8')).toBe('data');
        await two.ok('Unmount', body);
        await one.ok('Remove', { Name });
      } else {
        outcomes.removed += 1;
        expect(mountError).toContain(`no such volume: ${Name}`);
        expect(remove?.Err).toBe('');
      }
      expect(await cluster.store.records()).not.toHaveProperty(Name);
      expect(await two.mountCount(Name)).toBe(0);
      await expect(readdir(data)).rejects.toThrow('ENOENT');
    }
    process.stderr.write(`30 times Remove against Mount: ${JSON.stringify(outcomes)}\n`);
    expect(await cluster.store.locks()).toEqual([]);
  });

  test('clients F7: a volume renamed on one host is mounted on another by its new name, and not while a host uses it', async () => {
    const [one, two] = nodes as [BareNode, BareNode];
    const rename = (node: BareNode, name: string, to: string) =>
      node.daemon.berth('volume', 'rename', name, to);
    const use = { ID: 'b'.repeat(64) };
    await one.create('orders');
    await writeFile(join(cluster.volumeDir, 'directory/orders/data/row'), 'one');

    expect(await rename(one, 'orders', 'sales')).toMatchObject({ code: 0 });
    await two.ok('Mount', { Name: 'sales', ...use });
    const inside = two.host.pathOf(join(two.mountpoint('sales'), 'row'));
    expect(await readFile(inside, 'utf8')).toBe('one');
    const where = /no such volume: orders; it was renamed to sales at 20\S+Z by host n1/;
    for (const node of [one, two]) {
      expect((await node.call('Mount', { Name: 'orders', ...use })).Err).toMatch(where);
    }
    expect((await one.daemon.berth('volume', 'inspect', 'orders')).stderr).toMatch(where);

    const refused = await rename(one, 'sales', 'income');
    expect(refused).toMatchObject({ code: 4, stderr: expect.stringMatching(mountedOn('n2')) });
    await two.ok('Unmount', { Name: 'sales', ...use });
    expect(await rename(two, 'sales', 'income')).toMatchObject({ code: 0 });
    expect((await one.call('Mount', { Name: 'orders', ...use })).Err).toMatch(/renamed to income/);
    await one.ok('Mount', { Name: 'income', ...use });
    await one.ok('Unmount', { Name: 'income', ...use });
    // A new volume has the name for itself.
    await two.create('orders');
    expect(await one.call('Mount', { Name: 'orders', ...use })).toMatchObject({ Err: '' });
    await one.ok('Unmount', { Name: 'orders', ...use });
    for (const Name of ['orders', 'income']) await one.ok('Remove', { Name });
    expect(await cluster.store.locks()).toEqual([]);
  });

  /** Returns the temporary files of unfinished driver operations. */
  async function temporaries(): Promise<string[]> {
    const directory = join(cluster.volumeDir, 'directory');
    await mkdir(directory, { recursive: true });
    return (await readdir(directory)).filter((name) => name.startsWith('.tmp'));
  }
});
