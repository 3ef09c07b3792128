// The sentinel is killed, frozen and replaced while it fences, and outlives its daemon. Two real
// hosts with etcd; time is real, with a TTL of 8 s.

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { isAlive } from '../../support/host-processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { longestGapMs, startClockWriter } from './clock-writer.ts';
import { eventKindsOf, eventsOf } from './events.ts';
import {
  keepSentinelBusy,
  sentinelPid,
  sentinelReport,
  waitUntilSettled,
} from './sentinel-process.ts';

describeWith(['docker', 'etcd'], 'the sentinel', () => {
  let cluster: Cluster;
  let one: EngineNode;
  let two: EngineNode;
  let first: ClockWriter;
  let second: ClockWriter;
  beforeAll(async () => {
    cluster = await startCluster({
      engines: ['26.1', '20.10'],
      // A busy machine restarts a daemon in seconds, within which no deadline may pass.
      berth: { ttl: '16s', lockTimeout: '40s' },
    });
    const [n1, n2] = cluster.nodes;
    if (!n1 || !n2) throw new Error('there are two nodes');
    [one, two] = [n1, n2];
    await one.create('v1');
    await one.create('v2');
    first = await startClockWriter(one, { name: 'w1', volume: 'v1' });
    second = await startClockWriter(two, { name: 'w2', volume: 'v2' });
  });
  afterAll(async () => cluster?.[Symbol.asyncDispose]());

  function replaced(node: EngineNode, pid: number): Promise<boolean> {
    return waitFor(
      async () => (await sentinelPid(node)) !== pid && !(await isAlive(pid)),
      20_000,
      `another sentinel on ${node.name}`,
    );
  }
  /** Counts the calls that the sentinel did not answer although it worked. */
  const mutesOf = (pid: number) =>
    one.daemon.log().split(`the sentinel (process ${pid}) works, but has not answered`).length;
  /** Waits until all attempts of one more call have passed. */
  const foundBusy = (pid: number, before: number) =>
    waitFor(() => mutesOf(pid) > before, 30_000, 'the sentinel to be found busy');
  const fenced = (node: EngineNode, volume: string) =>
    waitFor(
      async () => (await sentinelReport(node)).volumes[volume] === 'fenced',
      10_000,
      `${volume} to be fenced`,
    );

  test('a sentinel that is killed or does not answer is replaced', async () => {
    const pids = [await sentinelPid(one), await sentinelPid(two)] as const;
    process.kill(pids[0], 'SIGKILL');
    process.kill(pids[1], 'SIGSTOP');
    await Promise.all([replaced(one, pids[0]), replaced(two, pids[1])]);
    for (const writer of [first, second]) {
      await writer.waitUntilItWrites();
      expect(await writer.state()).toBe('running');
    }
    for (const event of await eventsOf(one, 'v1')) expect(event).toMatch(/^(paused|resumed):/);
  });

  test('a sentinel that answers late because it works is not replaced', async () => {
    const pid = await sentinelPid(one);
    const before = mutesOf(pid);
    const endWork = await keepSentinelBusy(one, pid);
    await foundBusy(pid, before);
    await endWork();
    await first.waitUntilItWrites(10_000);
    expect(await sentinelPid(one)).toBe(pid);
    const isQuiet = async () => !(await one.daemon.berthOk('status')).includes('the sentinel');
    await waitFor(isQuiet, 5_000, 'the condition to disappear');
  });

  test('F0: a sentinel that fences is never replaced by its own daemon as mute', async () => {
    const pid = await sentinelPid(one);
    const before = await first.incarnation();
    await one.host.disconnect();
    await fenced(one, 'v1');
    const mutes = mutesOf(pid);
    const endWork = await keepSentinelBusy(one, pid);
    await foundBusy(pid, mutes);
    await endWork();
    expect(await sentinelPid(one)).toBe(pid);
    expect(await first.state()).toBe('paused');
    await one.host.reconnect();
    await first.waitUntilItWrites(10_000);
    expect([await sentinelPid(one), await first.incarnation()]).toEqual([pid, before]);
  });

  test('when the plugin restarts: the same sentinel goes on, and no container notices', async () => {
    const pid = await sentinelPid(one);
    const before = await first.incarnation();
    await waitUntilSettled(one);
    const told = (await eventsOf(one, 'v1')).length;
    const sinceMs = bootNowMs();
    for (const end of ['stop', 'kill', 'stop', 'kill'] as const) {
      await one.daemon[end]();
      await one.daemon.start();
    }
    await first.waitUntilItWrites();
    expect(await sentinelPid(one)).toBe(pid);
    expect(await first.incarnation()).toBe(before);
    // The writer on the other host shows how long a busy machine stops any container.
    const gapMs = async (writer: ClockWriter) =>
      longestGapMs((await writer.times()).filter((time) => time >= sinceMs));
    expect(await gapMs(first)).toBeLessThan(1_000 + 2 * (await gapMs(second)));
    const news = (await eventsOf(one, 'v1')).slice(told);
    expect(news.filter((event) => !event.startsWith('adopted'))).toEqual([]);
  });

  test('a new sentinel resumes the containers that its predecessor paused, even with a new daemon', async () => {
    const before = await Promise.all([first.incarnation(), second.incarnation()]);
    await Promise.all([one.host.disconnect(), two.host.disconnect()]);
    await Promise.all([fenced(one, 'v1'), fenced(two, 'v2')]);
    const pids = [await sentinelPid(one), await sentinelPid(two)] as const;
    await two.daemon.kill();
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await replaced(one, pids[0]);
    expect([await first.state(), await second.state()]).toEqual(['paused', 'paused']);
    await Promise.all([one.host.reconnect(), two.host.reconnect()]);
    await two.daemon.start();
    await Promise.all([first.waitUntilItWrites(10_000), second.waitUntilItWrites(10_000)]);
    expect(await Promise.all([first.incarnation(), second.incarnation()])).toEqual(before);
  });

  test('a new sentinel kills the containers that its predecessor paused if another host holds the lock', async () => {
    await two.host.disconnect();
    await fenced(two, 'v2');
    const pid = await sentinelPid(two);
    await two.daemon.kill();
    process.kill(pid, 'SIGKILL');
    const taking = startClockWriter(one, { name: 'taker', volume: 'v2' });
    await waitFor(() => taking.then(() => true), 20_000, 'the other host to mount the volume');
    expect(await second.state()).toBe('paused');
    await two.host.reconnect();
    await two.daemon.start();
    await second.waitUntil('exited', 10_000);
    await two.waitUntilUnmounted('v2');
    const kinds = await eventKindsOf(two, 'v2');
    expect(kinds).toEqual(expect.arrayContaining(['lost', 'killed']));
    expect(kinds.at(-1)).toBe('fenced');
    await (await taking).waitUntilItWrites();
  });

  test('the sentinel ends with its daemon when nothing is mounted', async () => {
    const pid = await sentinelPid(one);
    await one.down('taker');
    await one.down('w1');
    expect(await isAlive(pid)).toBe(true);
    await one.daemon.stop();
    await waitFor(async () => !(await isAlive(pid)), 5_000, 'the sentinel to end');
  });
});
