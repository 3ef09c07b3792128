// How often the sentinel writes cached data back, so that a deadline finds little left to write: F1 of
// the findings. A daemon on a host without an engine, with real etcd and the shortest TTL, 5 s.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import { deadlineOf } from './sentinel-process.ts';

const volumes = ['a', 'b', 'c'];
/** About nine renewals. */
const watchedMs = 15_000;

describeWith(['root', 'etcd'], 'early write-back', () => {
  test('F1: at the shortest TTL a healthy volume is not written back at each renewal, but before a deadline it is', async () => {
    await using cluster = await startBareCluster();
    const node = await cluster.join('n1', { ttl: '5s' });
    const list = join(node.host.directory, 'syncs');
    await node.host.shadow('sync', `echo "$@" >> ${list}; exec /bin/sync "$@"`);
    for (const volume of volumes) {
      await node.create(volume);
      await node.ok('Mount', { Name: volume, ID: volume.repeat(64) });
    }
    const syncsOf = async (volume: string) => {
      const lines = (await readFile(list, 'utf8').catch(() => '')).split('\n');
      return lines.filter((line) => line.endsWith(`/${volume}`)).length;
    };
    const began = await deadlineOf(node, 'a');
    const hasMoved = async () => (await deadlineOf(node, 'a')) - began > watchedMs;
    await waitFor(hasMoved, 6 * watchedMs, 'the deadline to be moved on');
    // A renewal that a busy machine delays brings the deadline near, and a volume is written back.
    const most = 3;
    for (const volume of volumes) expect(await syncsOf(volume)).toBeLessThanOrEqual(most);
    const before = await Promise.all(volumes.map(syncsOf));
    await node.host.disconnect();
    for (const [index, volume] of volumes.entries()) {
      const isSynced = async () => (await syncsOf(volume)) > (before[index] ?? 0);
      await waitFor(isSynced, 20_000, `${volume} to be synced`);
    }
  });
});
