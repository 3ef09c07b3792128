import type { BerthOptions } from '../../support/berth.ts';
import type { ControlGroups } from '../../support/control-groups.ts';
import type { Etcd, EtcdOptions } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import type { Host } from '../../support/host.ts';
import { lingering, startHost } from '../../support/host.ts';
import type { Network } from '../../support/network.ts';
import { startNetwork } from '../../support/network.ts';
import type { FinishedProcess } from '../../support/processes.ts';
import type { StoreView } from '../../support/store-view.ts';
import { etcdView } from '../../support/store-view.ts';
import { makeTemporaryDirectory, memoryDirectory } from '../../support/temporary-directory.ts';
import type { DockerVersion } from '../../support/tools.ts';
import type { Node } from './node.ts';
import { startNode } from './node.ts';

/**
 * Docker hosts on one network with etcd, a directory that all hosts share, and berth on each host.
 */
export interface Cluster extends AsyncDisposable {
  readonly network: Network;
  readonly etcd: Etcd;
  readonly store: StoreView;
  readonly volumeDir: string;
  readonly nodes: readonly EngineNode[];
}

export interface EngineNode extends Node {
  readonly host: Host;
  docker(...args: string[]): Promise<FinishedProcess>;
  dockerOk(...args: string[]): Promise<string>;
  /** Starts a container that keeps running, with a volume at /data. */
  up(container: string, volume: string): Promise<FinishedProcess>;
  /** Stops and removes the container. */
  down(container: string): Promise<void>;
  /** Runs a command in a new container with the volume at /data; returns its output. */
  shell(volume: string, command: string): Promise<string>;
}

export interface EngineChoice {
  readonly docker: DockerVersion;
  /** 1 by default. */
  readonly controlGroups?: ControlGroups;
}

export interface ClusterOptions {
  /** One engine per host. The hosts are called n1, n2 and so on. */
  readonly engines: readonly (DockerVersion | EngineChoice)[];
  readonly berth?: BerthOptions;
  readonly etcd?: EtcdOptions;
  /** The directory of all volumes; by default, one in memory. */
  readonly volumeDir?: string;
}

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  // In memory: a disk that other tests keep busy freezes no file system in time.
  const { volumeDir = stack.use(await makeTemporaryDirectory(memoryDirectory())).path } = options;
  const network = stack.use(await startNetwork());
  const etcd = stack.use(await startEtcd({ in: network, ...options.etcd }));
  const nodes: EngineNode[] = [];
  for (const [index, engine] of options.engines.entries()) {
    const choice = typeof engine === 'string' ? { docker: engine } : engine;
    const host = stack.use(await startHost({ ...choice, network, name: `n${index + 1}` }));
    nodes.push(
      stack.use(await startEngineNode(host, { store: etcd.url, volumeDir, ...options.berth })),
    );
  }
  const owned = stack.move();
  return {
    network,
    etcd,
    store: etcdView(etcd),
    volumeDir,
    nodes,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Returns the host with that index, and the other one of a cluster of two. */
export function nodesOf({ nodes }: Cluster, index: 0 | 1): { one: EngineNode; two: EngineNode } {
  const [one, two] = [nodes[index], nodes[1 - index]];
  if (!one || !two) throw new Error('there are two hosts');
  return { one, two };
}

export async function startEngineNode(host: Host, berth: BerthOptions = {}): Promise<EngineNode> {
  const node = await startNode(host, berth);
  const { docker, dockerOk } = host;
  return {
    ...node,
    host,
    docker,
    dockerOk,
    up: (container, volume) =>
      docker(
        ...['run', '-d', '--name', container, '--stop-timeout', '0', '-v', `${volume}:/data`],
        ...['busybox', 'sleep', '1000'],
      ),
    down: async (container) => {
      await dockerOk('rm', '-f', container);
    },
    shell: (volume, command) =>
      dockerOk('run', '--rm', '-v', `${volume}:/data`, 'busybox', 'sh', '-c', lingering(command)),
  };
}
