// Two Docker hosts (20.10 and 26.1) that share volumes through etcd and a common directory, with
// real containers.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { mountedOn } from '../hosts/bare-cluster.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';

describeWith(['docker', 'etcd'], 'two Docker hosts that share volumes', () => {
  let cluster: Cluster;
  let one: EngineNode;
  let two: EngineNode;

  beforeAll(async () => {
    cluster = await startCluster({ engines: ['20.10', '26.1'], berth: { lockTimeout: '1s' } });
    [one, two] = cluster.nodes as [EngineNode, EngineNode];
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  const locks = () => cluster.store.locks();
  const create = (name: string, ...options: string[]) =>
    one.dockerOk(
      ...['volume', 'create', '-d', 'berth', ...options.flatMap((option) => ['-o', option]), name],
    );

  test('each host sees the volumes and the data of the other', async () => {
    await create('handed');
    expect(await two.dockerOk('volume', 'ls', '--format', '{{.Driver}} {{.Name}}')).toContain(
      'berth handed',
    );
    expect(await two.dockerOk('volume', 'inspect', '-f', '{{.Scope}}', 'handed')).toBe('global');
    await one.shell('handed', 'echo from one > /data/file');
    expect(await two.shell('handed', 'cat /data/file; echo from two > /data/file')).toBe(
      'from one',
    );
    expect(await one.shell('handed', 'cat /data/file')).toBe('from two');
    await two.dockerOk('volume', 'rm', 'handed');
    expect((await one.docker('volume', 'inspect', 'handed')).code).not.toBe(0);
    expect(await locks()).toEqual([]);
  });

  test("defect A11, scenario 33: a volume mounted on one host can't be removed from another, even by force", async () => {
    await create('needed');
    expect((await one.up('user', 'needed')).code).toBe(0);
    for (const force of [[], ['-f']]) {
      const { code, stderr } = await two.docker('volume', 'rm', ...force, 'needed');
      expect(code).not.toBe(0);
      expect(stderr).toMatch(mountedOn('n1'));
    }
    expect(await one.dockerOk('exec', 'user', 'sh', '-c', 'echo on > /data/f; cat /data/f')).toBe(
      'on',
    );
    await one.down('user');
    await one.waitUntilUnmounted('needed');
    await two.dockerOk('volume', 'rm', '-f', 'needed');
    expect(await cluster.store.records()).not.toHaveProperty('needed');
  });

  test('many requests that wait for one volume on one host all time out in time', async () => {
    await create('busy');
    expect((await one.up('user', 'busy')).code).toBe(0);
    const timed = async (IDs: readonly string[]) => {
      const started = performance.now();
      const mounting = IDs.map((ID) => two.call('Mount', { Name: 'busy', ID }));
      const answers = await Promise.all(mounting);
      return { answers, tookMs: performance.now() - started };
    };
    const alone = await timed(['9'.repeat(64)]);
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => letter.repeat(64));
    const { answers, tookMs } = await timed(ids);
    // One after another they would take six times as long.
    expect(tookMs).toBeLessThan(4 * alone.tookMs);
    for (const { Err } of answers) expect(Err).toMatch(mountedOn('n1'));
    await one.down('user');
  });

  test('scenario 34: of two containers started at once on two hosts, one gets the volume', async () => {
    await create('wanted');
    const starts = await Promise.all([one.up('racer', 'wanted'), two.up('racer', 'wanted')]);
    expect(starts.filter(({ code }) => code === 0)).toHaveLength(1);
    const [winner, loser] = starts[0].code === 0 ? [one, two] : [two, one];
    const refusal = starts.find(({ code }) => code !== 0)?.stderr;
    expect(refusal).toMatch(mountedOn(winner.name));
    process.stderr.write(`the loser reads: ${refusal}`);
    await loser.down('racer');
    await winner.down('racer');
    await winner.waitUntilUnmounted('wanted');
    expect((await loser.up('racer', 'wanted')).code).toBe(0);
    await loser.down('racer');
    expect(await locks()).toEqual([]);
  });

  test('several hosts can mount an access=shared volume at once, and none can remove it meanwhile', async () => {
    await create('common', 'access=shared');
    expect((await one.up('reader', 'common')).code).toBe(0);
    expect((await two.up('reader', 'common')).code).toBe(0);
    await one.dockerOk('exec', 'reader', 'sh', '-c', 'echo shared > /data/file');
    expect(await two.dockerOk('exec', 'reader', 'cat', '/data/file')).toBe('shared');
    expect(await locks()).toEqual(['mount/common', 'mount/common']);
    await two.down('reader');
    const { code, stderr } = await two.docker('volume', 'rm', 'common');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(mountedOn('n1'));
    await one.down('reader');
    await one.waitUntilUnmounted('common');
    await two.dockerOk('volume', 'rm', 'common');
  });

  test('an access=container volume serves one container in the whole cluster', async () => {
    await create('single', 'access=container');
    expect((await one.up('first', 'single')).code).toBe(0);
    const here = await one.up('second', 'single');
    expect(here.code).not.toBe(0);
    expect(here.stderr).toMatch(
      /access=container and is used by the container first .* on this host since 20/,
    );
    const there = await two.up('second', 'single');
    expect(there.code).not.toBe(0);
    expect(there.stderr).toMatch(mountedOn('n1'));
    for (const container of ['first', 'second']) await one.down(container);
    await two.down('second');
    expect(await two.shell('single', 'echo free')).toBe('free');
    await two.dockerOk('volume', 'rm', 'single');
    expect(await locks()).toEqual([]);
  });

  test('an image volume is attached on one host at a time', async () => {
    await create('imaged', 'driver=image', 'size=32M');
    const image = join(cluster.volumeDir, 'image/imaged/volume.img');
    const attached = async () =>
      (await runOk('losetup', ['-j', image])).split('\n').filter(Boolean);
    for (let round = 0; round < 3; round += 1) {
      const starts = await Promise.all([one.up('imager', 'imaged'), two.up('imager', 'imaged')]);
      expect(starts.map(({ code }) => code === 0).sort()).toEqual([false, true]);
      expect(await attached()).toHaveLength(1);
      const [winner, loser] = starts[0].code === 0 ? [one, two] : [two, one];
      await winner.dockerOk('exec', 'imager', 'sh', '-c', `echo ${round} >> /data/rounds`);
      await loser.down('imager');
      await winner.down('imager');
      await winner.waitUntilUnmounted('imaged');
      await waitFor(async () => (await attached()).length === 0, 5_000, 'the image to be detached');
    }
    expect(await one.shell('imaged', 'cat /data/rounds')).toBe('0\n1\n2');
    await two.dockerOk('volume', 'rm', 'imaged');
    expect(await locks()).toEqual([]);
  });
});
