import { mkdtemp, rm } from 'node:fs/promises';
import type { BerthOptions } from '../../support/berth.ts';
import type { Etcd, EtcdOptions } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import type { Network } from '../../support/network.ts';
import { startNetwork } from '../../support/network.ts';
import type { StoreView } from '../../support/store-view.ts';
import { etcdView } from '../../support/store-view.ts';
import type { BareHost } from './bare-host.ts';
import { startBareHost } from './bare-host.ts';
import type { Node } from './node.ts';
import { startNode } from './node.ts';

/**
 * Hosts without engines on one network with etcd, and a directory in memory that all hosts share.
 */
export interface BareCluster extends AsyncDisposable {
  readonly network: Network;
  readonly etcd: Etcd;
  readonly store: StoreView;
  readonly volumeDir: string;
  /** Adds a host and its daemon; they end with the cluster. */
  join(name: string, options?: BerthOptions): Promise<BareNode>;
}

export interface BareNode extends Node {
  readonly host: BareHost;
}

export async function startBareCluster(etcdOptions: EtcdOptions = {}): Promise<BareCluster> {
  await using stack = new AsyncDisposableStack();
  const network = stack.use(await startNetwork());
  const etcd = stack.use(await startEtcd({ in: network, ...etcdOptions }));
  const volumeDir = await mkdtemp('/dev/shm/berth-test-');
  stack.defer(() => rm(volumeDir, { recursive: true, force: true, maxRetries: 10 }));
  const owned = stack.move();
  return {
    network,
    etcd,
    volumeDir,
    store: etcdView(etcd),
    join: async (name, options) => {
      const host = owned.use(await startBareHost(name, network));
      const node = await startNode(host, { store: etcd.url, volumeDir, ...options });
      owned.use(node);
      return { ...node, host };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Returns the IDs of all leases in etcd. */
export async function leases(etcd: Etcd): Promise<string[]> {
  const [, ...ids] = (await etcd.ctlOk('lease', 'list')).split('\n');
  return ids.filter((id) => id !== '');
}

/** Matches a refusal that names the host that has mounted the volume, the time and the mount ID. */
export function mountedOn(host: string): RegExp {
  return new RegExp(`mounted on host ${host} since 20\\d\\d-\\S+Z \\(token \\d+, mount ID`);
}
