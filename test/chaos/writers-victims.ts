import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { controlGroupIn } from '../../lib/linux/control-group.ts';
import { killGroup } from '../../lib/linux/control-group-kill.ts';
import { readMounts } from '../../lib/linux/mountinfo.ts';
import type { EngineNode } from '../e2e/hosts/cluster.ts';
import { waitFor } from '../support/processes.ts';
import type { WritersCluster } from './writers-cluster.ts';
import { containerPids, sentinelPids } from './writers-cluster.ts';
import type { WriterContainer } from './writers-container.ts';
import type { ContainerFault, EtcdFault, HostFault } from './writers-plan.ts';

export async function onHost(node: EngineNode, kind: HostFault, lastsMs: number): Promise<boolean> {
  const { daemon, host } = node;
  switch (kind) {
    case 'kill daemon':
      await daemon.kill();
      await pause(lastsMs);
      await daemon.start();
      return true;
    case 'freeze daemon':
      return freeze([daemon.process.pid], lastsMs);
    case 'restart daemon':
      await daemon.stop();
      await daemon.start();
      return true;
    case 'kill sentinel': {
      const pids = await sentinelPids(node);
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await untilGuarded(node);
      return pids.length > 0;
    }
    case 'freeze sentinel': {
      const pids = await sentinelPids(node);
      const hasFrozen = await freeze(pids, lastsMs);
      await untilGuarded(node);
      return hasFrozen;
    }
    case 'kill engine':
      await host.killEngine();
      await pause(lastsMs);
      await startEngine(node);
      return true;
    case 'freeze engine':
      return freeze([host.enginePid, await containerdPid(node)], lastsMs);
    case 'kill daemon and engine':
      await Promise.all([daemon.kill(), host.killEngine()]);
      await pause(lastsMs);
      await daemon.start();
      await startEngine(node);
      return true;
    case 'kill everything':
      await Promise.all([
        killContainers(node),
        host.killEngine(),
        daemon.kill(),
        killSentinel(node),
      ]);
      await killContainers(node);
      await pause(lastsMs);
      await daemon.start();
      await startEngine(node);
      return true;
    case 'cut off':
      await host.disconnect();
      await pause(lastsMs);
      await host.reconnect();
      return true;
  }
}

/** Starts the engine; on a busy machine one attempt may not have enough time. */
async function startEngine({ host }: EngineNode): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await host.startEngine();
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

export async function onEtcd(
  { etcd, members }: WritersCluster,
  kind: EtcdFault,
  index: number,
  lastsMs: number,
): Promise<boolean> {
  const member = kind.endsWith('leader') ? await leaderOf(etcd) : index;
  if (member === undefined) return false;
  switch (kind) {
    case 'kill member':
    case 'kill leader':
      await etcd.kill(member);
      await pause(lastsMs);
      await etcd.restart(member);
      return true;
    case 'freeze member':
    case 'freeze leader':
      etcd.pause(member);
      await pause(lastsMs);
      etcd.resume(member);
      return true;
    case 'cut off member':
    case 'cut off leader':
      await members[member]?.disconnect();
      await pause(lastsMs);
      await members[member]?.reconnect();
      return true;
    case 'freeze majority': {
      const both = [member, (member + 1) % members.length];
      for (const each of both) etcd.pause(each);
      await pause(lastsMs);
      for (const each of both) etcd.resume(each);
      return true;
    }
  }
}

/** Returns the index of the leader; undefined when no member that answers is the leader. */
async function leaderOf(etcd: WritersCluster['etcd']): Promise<number | undefined> {
  const { stdout } = await etcd.ctl('endpoint', 'status', '--write-out', 'json');
  const statuses = statusesSchema.parse(JSON.parse(stdout || '[]'));
  const led = statuses.find(({ Status: { leader, header } }) => leader === header.member_id);
  const index = etcd.endpoints.indexOf(led?.Endpoint ?? '');
  return index < 0 ? undefined : index;
}

const statusesSchema = z.array(
  z.object({
    Endpoint: z.string(),
    /** A member without a leader leaves `leader` out. */
    Status: z.object({
      leader: z.number().default(0),
      header: z.object({ member_id: z.number() }),
    }),
  }),
);

/** Carries out a fault of a writer; false when it does not run, or nobody has the volume. */
export async function onWriter(
  { nodes }: WritersCluster,
  kind: ContainerFault,
  writer: WriterContainer,
  index: number,
): Promise<boolean> {
  switch (kind) {
    case 'kill writer':
      return writer.suffer('kill');
    case 'stop writer':
      return writer.suffer('stop');
    case 'restart writer':
      return writer.suffer('restart');
    case 'clear lock': {
      const operator = nodes[index]?.daemon ?? writer.node.daemon;
      const { stdout } = await operator.berth('lock', 'inspect', writer.volume, '--json');
      const token = /"token": ?(\d+)/.exec(stdout)?.[1];
      if (token === undefined) return false;
      const choice = [writer.volume, '--token', token, '--force'];
      return (await operator.berth('lock', 'clear', ...choice)).code === 0;
    }
  }
}

async function freeze(pids: readonly number[], lastsMs: number): Promise<boolean> {
  const frozen = pids.filter((pid) => signalled(pid, 'SIGSTOP'));
  await pause(lastsMs);
  for (const pid of frozen) signalled(pid, 'SIGCONT');
  return frozen.length > 0;
}

/** Sends a signal; false when the process has ended. */
function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

async function killSentinel(node: EngineNode): Promise<void> {
  for (const pid of await sentinelPids(node)) signalled(pid, 'SIGKILL');
}

/** Kills all processes of the host's containers, also frozen ones. */
async function killContainers(node: EngineNode): Promise<void> {
  const mounts = await readMounts();
  for (const pid of await containerPids(node)) {
    const text = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    const group = controlGroupIn(text, mounts);
    if (group) await killGroup(group);
  }
}

/** Waits for a sentinel, which the daemon replaces as long as a volume is mounted. */
async function untilGuarded(node: EngineNode): Promise<void> {
  const isGuarded = async () =>
    (await sentinelPids(node)).length > 0 || (await node.table()).length === 0;
  await waitFor(isGuarded, 20_000, `a sentinel on ${node.name}`);
  await pause(1_000); // The sentinel receives the deadlines during this.
}

async function containerdPid({ host }: EngineNode): Promise<number> {
  const path = join(host.directory, 'engine/exec/containerd/containerd.pid');
  return Number(await readFile(path, 'utf8'));
}
