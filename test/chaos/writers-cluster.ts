import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { parseMountInfo } from '../../lib/linux/mountinfo.ts';
import { sentinelLines } from '../e2e/fencing/sentinel-process.ts';
import type { BareHost } from '../e2e/hosts/bare-host.ts';
import { startBareHost } from '../e2e/hosts/bare-host.ts';
import type { EngineNode } from '../e2e/hosts/cluster.ts';
import { startEngineNode } from '../e2e/hosts/cluster.ts';
import type { Etcd } from '../support/etcd-server.ts';
import { startEtcd } from '../support/etcd-server.ts';
import { startHost } from '../support/host.ts';
import { startNetwork } from '../support/network.ts';
import { runOk } from '../support/processes.ts';
import type { StoreView } from '../support/store-view.ts';
import { etcdView } from '../support/store-view.ts';
import { makeTemporaryDirectory, memoryDirectory } from '../support/temporary-directory.ts';
import type { DockerVersion, EtcdVersion } from '../support/tools.ts';
import { WriterContainer } from './writers-container.ts';

export interface WritersClusterOptions {
  /** The Docker version of each host. */
  readonly engines: readonly DockerVersion[];
  readonly etcd: EtcdVersion;
  readonly ttlMs: number;
  /** The volumes by name, with their options. */
  readonly volumes: Readonly<Record<string, readonly string[]>>;
}

/** Docker hosts with berth, etcd on three machines of its own, and a writer per host and volume. */
export interface WritersCluster extends AsyncDisposable {
  readonly ttlMs: number;
  readonly nodes: readonly EngineNode[];
  readonly etcd: Etcd;
  /** The machines of etcd's members. */
  readonly members: readonly BareHost[];
  readonly writers: readonly WriterContainer[];
  /** Lists what berth still uses somewhere; empty when nothing is mounted. */
  leftovers(): Promise<string[]>;
}

/** How long the start of a container waits for a volume that another host has. */
const lockTimeout = '12s';

export async function startWritersCluster(options: WritersClusterOptions): Promise<WritersCluster> {
  const { engines, ttlMs, volumes } = options;
  await using stack = new AsyncDisposableStack();
  // In memory: a disk that other tests keep busy freezes no file system in time.
  const volumeDir = stack.use(await makeTemporaryDirectory(memoryDirectory())).path;
  const network = stack.use(await startNetwork());
  const members: BareHost[] = [];
  for (const name of ['e1', 'e2', 'e3']) {
    members.push(stack.use(await startBareHost(name, network)));
  }
  const etcd = stack.use(await startEtcd({ in: members, members: 3, version: options.etcd }));
  const berth = { store: etcd.url, volumeDir, ttl: `${ttlMs / 1_000}s`, lockTimeout };
  const starting = engines.map(async (docker, index) => {
    const host = stack.use(await startHost({ docker, network, name: `n${index + 1}` }));
    return stack.use(await startEngineNode(host, berth));
  });
  // Waits for all, also when one fails: what has started must be on the stack before it unwinds.
  await Promise.allSettled(starting);
  const nodes = await Promise.all(starting);
  const writers: WriterContainer[] = [];
  for (const [volume, flags] of Object.entries(volumes)) {
    await nodes[0]?.dockerOk('volume', 'create', '-d', 'berth', ...flags, volume);
    writers.push(...(await Promise.all(nodes.map((node) => WriterContainer.create(node, volume)))));
  }
  const store = etcdView(etcd);
  const owned = stack.move();
  return {
    ttlMs,
    nodes,
    etcd,
    members,
    writers,
    leftovers: async () => {
      const ofNodes = await Promise.all(nodes.map(leftoversOf));
      return [...(await leftInStore(store)), ...ofNodes.flat(), ...(await loopDevices(volumeDir))];
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Returns the processes of the host's sentinel: one, or none while it is being replaced. */
export function sentinelPids({ host }: EngineNode): Promise<number[]> {
  return pidsWith('cmdline', (line) => {
    const words = line.split('\0');
    return (
      words.some((word) => word.endsWith('sentinel/main.ts')) && words.includes(host.dockerSocket)
    );
  });
}

/** Returns all processes in the host's containers. */
export function containerPids({ host }: EngineNode): Promise<number[]> {
  return pidsWith('cgroup', (groups) => groups.includes(`/${basename(host.directory)}/`));
}

async function pidsWith(file: string, isWanted: (text: string) => boolean): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (Number.isNaN(pid)) continue;
    // A process may end at any time.
    const text = await readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
    if (isWanted(text)) found.push(pid);
  }
  return found;
}

async function leftInStore(store: StoreView): Promise<string[]> {
  return (await store.locks()).map((lock) => `etcd has a ticket on ${lock}`);
}

async function leftoversOf(node: EngineNode): Promise<string[]> {
  const { host, name } = node;
  const found: string[] = [];
  for (const { volume } of await node.table()) found.push(`its mount table has ${volume}`);
  const mountDir = node.mountpoint('');
  const mounts = parseMountInfo(await readFile(`/proc/${host.enginePid}/mountinfo`, 'utf8'));
  for (const { mountpoint } of mounts) {
    if (mountpoint.startsWith(mountDir)) found.push(`${mountpoint} is mounted`);
  }
  const containers = await node.dockerOk('ps', '-a', '--format', '{{.Names}}: {{.Status}}');
  for (const line of containers.split('\n').filter(Boolean)) found.push(`container ${line}`);
  const fences = new Map<string, string>();
  const stopped = new Set<string>();
  for (const parts of await sentinelLines(host)) {
    for (const [volume, fence] of Object.entries(parts.fences ?? {})) {
      fences.set(volume, fence?.phase ?? 'running');
    }
    for (const [key, user] of Object.entries(parts.stopped ?? {})) {
      if (user) stopped.add(key);
      else stopped.delete(key);
    }
  }
  for (const key of stopped) found.push(`the sentinel has stopped ${key}`);
  for (const [volume, phase] of fences) {
    if (phase !== 'running') found.push(`the sentinel has ${volume} ${phase}`);
  }
  return found.map((each) => `${name}: ${each}`);
}

async function loopDevices(volumeDir: string): Promise<string[]> {
  const lines = (await runOk('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE']))
    .split('\n')
    .filter((line) => line.includes(volumeDir));
  return lines.map((line) => `loop device ${line}`);
}
