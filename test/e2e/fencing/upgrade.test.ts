// The daemon of one release with the sentinel of another, in both directions, below running
// containers: an upgrade in place, and a host where systemd has started the newer sentinel first. Real
// hosts with etcd; time is real, with a TTL of 16 s.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { repository } from '../../support/berth.ts';
import type { ControlGroups } from '../../support/control-groups.ts';
import { checkOut } from '../../support/earlier-release.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import type { Host } from '../../support/host.ts';
import { startHost } from '../../support/host.ts';
import { isAlive } from '../../support/host-processes.ts';
import type { Network } from '../../support/network.ts';
import { startNetwork } from '../../support/network.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory, memoryDirectory } from '../../support/temporary-directory.ts';
import type { EngineNode } from '../hosts/cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';
import type { ClockWriter } from './clock-writer.ts';
import { startClockWriter } from './clock-writer.ts';
import { deadlineOf, sentinelPid, sentinelReport } from './sentinel-process.ts';

describeWith(['docker', 'etcd', 'history'], 'daemon and sentinel of two releases', () => {
  const stack = new AsyncDisposableStack();
  let network: Network;
  let etcd: Etcd;
  /** The directory of the release before protocol 2. */
  let before: string;
  let volumeDir: string;
  beforeAll(async () => {
    network = stack.use(await startNetwork());
    etcd = stack.use(await startEtcd({ in: network }));
    before = stack.use(await checkOut('protocol1')).path;
    volumeDir = stack.use(await makeTemporaryDirectory(memoryDirectory())).path;
  });
  afterAll(() => stack.disposeAsync());

  async function newHost(name: string, controlGroups: ControlGroups): Promise<Host> {
    return stack.use(await startHost({ docker: '26.1', network, name, controlGroups }));
  }

  async function startNode(host: Host, release?: string): Promise<EngineNode> {
    const berth = { store: etcd.url, volumeDir, ttl: '16s', lockTimeout: '40s' };
    return stack.use(await startEngineNode(host, { ...berth, ...(release && { release }) }));
  }

  /** Starts the sentinel of a release, as systemd does. */
  async function startSentinel(host: Host, program: string): Promise<RunningProcess> {
    const sockets = ['--socket', '/run/berth/admin.sock.sentinel'];
    const flags = ['--stay', ...sockets, '--docker-socket', host.dockerSocket];
    const sentinel = stack.use(
      host.spawn('node', [program, ...flags], { env: { DEBUG: 'berth:sentinel' } }),
    );
    await waitFor(() => /pid=\d/.test(sentinel.output()), 20_000, 'the sentinel to listen');
    return sentinel;
  }

  const fenceState = async (node: EngineNode, volume: string) =>
    (await sentinelReport(node)).volumes[volume];

  /** The deadline moves, and an outage pauses the container and resumes it afterwards. */
  async function expectFenced(node: EngineNode, writer: ClockWriter): Promise<void> {
    const { volume } = writer;
    const deadline = await deadlineOf(node, volume);
    const moves = async () => (await deadlineOf(node, volume)) > deadline;
    await waitFor(moves, 20_000, `the deadline of ${volume} to move`);
    const container = await writer.incarnation();
    await node.host.disconnect();
    const isFenced = async () => (await fenceState(node, volume)) === 'fenced';
    await waitFor(isFenced, 20_000, `${volume} to be fenced`);
    await writer.waitUntil('paused', 10_000);
    await node.host.reconnect();
    await writer.waitUntilItWrites(10_000);
    await writer.waitUntil('running', 10_000);
    expect(await writer.incarnation()).toBe(container);
  }

  test('a new daemon replaces the sentinel before it, below a running container (control groups v1)', async () => {
    const node = await startNode(await newHost('n1', 1), before);
    await node.create('v1');
    const writer = await startClockWriter(node, { name: 'w1', volume: 'v1' });
    const container = await writer.incarnation();
    const pid = await sentinelPid(node);
    expect((await sentinelReport(node)).protocolVersion).toBe(1);

    await node.daemon.stop();
    await node.daemon.start(repository);
    const isReplaced = async () => (await sentinelPid(node)) !== pid && !(await isAlive(pid));
    await waitFor(isReplaced, 20_000, 'another sentinel');
    await writer.waitUntilItWrites();
    expect(await writer.incarnation()).toBe(container);
    expect(await node.daemon.berthOk('events')).toMatch(
      /- {2}replaced a sentinel of another release: the sentinel speaks protocol 1/,
    );
    await expectFenced(node, writer);
    await node.create('v2');
    expect(await node.shell('v2', 'echo new > /data/file; cat /data/file')).toBe('new');
  });

  test('a daemon before it works with the new sentinel (control groups v2)', async () => {
    const host = await newHost('n2', 2);
    await startSentinel(host, join(repository, 'sentinel/main.ts'));
    const node = await startNode(host, before);
    const pid = await sentinelPid(node);
    await node.create('v3');
    const writer = await startClockWriter(node, { name: 'w3', volume: 'v3' });
    await expectFenced(node, writer);
    expect(await sentinelPid(node)).toBe(pid);

    await node.down('w3');
    await node.waitUntilUnmounted('v3');
    const isForgotten = async () => (await fenceState(node, 'v3')) === undefined;
    await waitFor(isForgotten, 10_000, 'the sentinel to release v3');
  });

  test('a sentinel that refuses the watch is replaced', async () => {
    const host = await newHost('n3', 1);
    const first = stack.use(await checkOut('firstSentinel')).path;
    const sentinel = await startSentinel(host, join(first, 'plugin/sentinel/main.ts'));
    const node = await startNode(host);
    await node.create('v4');
    expect(await node.shell('v4', 'echo new > /data/file; cat /data/file')).toBe('new');
    await waitFor(() => sentinel.hasExited, 10_000, 'the first sentinel to end');
    expect(await node.daemon.berthOk('events')).toMatch(/replaced .*answers with an error/);
  });
});
