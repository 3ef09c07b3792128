import { EtcdClient } from '../../lib/etcd/client.ts';
import { readAll } from '../../lib/etcd/ranges.ts';
import { EtcdKeys } from '../../lib/lock/stores/etcd/keys.ts';
import { EtcdStore } from '../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../support/etcd-server.ts';
import { startEtcd } from '../support/etcd-server.ts';
import type { NetworkFault, TcpProxy } from '../support/tcp-proxy.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { makeTemporaryDirectory } from '../support/temporary-directory.ts';
import type { EtcdVersion } from '../support/tools.ts';
import type { SetVersion } from './check-history.ts';
import { parseSet } from './guarded-set.ts';
import type { WorkerBenchParts } from './worker-bench.ts';
import { WorkerBench } from './worker-bench.ts';
import type { WorkerProcess } from './worker-process.ts';

const prefix = '/berth';

export interface ChaosOptions {
  readonly members: 1 | 3;
  readonly version?: EtcdVersion;
  /** How long etcd keeps the tickets of a worker without renewals. */
  readonly ttlMs: number;
}

/** One etcd, and workers that reach each member through a network of their own. */
export class ChaosBench extends WorkerBench {
  readonly etcd: Etcd;
  readonly store: EtcdStore;
  readonly #client: EtcdClient;

  private constructor(etcd: Etcd, parts: WorkerBenchParts) {
    super(parts);
    this.etcd = etcd;
    this.#client = new EtcdClient({ endpoints: hostsOf(etcd) });
    this.store = this.stack.use(new EtcdStore(this.#client, prefix));
  }

  static async open({ members, version = '3.5', ttlMs }: ChaosOptions): Promise<ChaosBench> {
    await using stack = new AsyncDisposableStack();
    const { path: directory } = stack.use(await makeTemporaryDirectory());
    const etcd = stack.use(await startEtcd({ members, version }));
    return new ChaosBench(etcd, { ttlMs, directory, stack: stack.move() });
  }

  async worker(name: string, clockOffsetMs = 0): Promise<WorkerProcess> {
    const network: TcpProxy[] = [];
    for (const host of hostsOf(this.etcd)) network.push(this.stack.use(await startTcpProxy(host)));
    const endpoints = network.map(({ address }) => address);
    return this.start({ name, store: { kind: 'etcd', endpoints, prefix }, clockOffsetMs, network });
  }

  /** Returns the index of the leader. */
  async leader(): Promise<number> {
    const { stdout } = await this.etcd.ctl('endpoint', 'status', '--write-out', 'json');
    const statuses: { Endpoint: string; Status: Status }[] = JSON.parse(stdout);
    const led = statuses.find(({ Status: { leader, header } }) => leader === header.member_id);
    const index = this.etcd.endpoints.indexOf(led?.Endpoint ?? '');
    if (index < 0) throw new Error('no member leads');
    return index;
  }

  protected async leftOvers(): Promise<string[]> {
    const { kvs } = await readAll(this.#client, new EtcdKeys(prefix).locksPrefix);
    const leases = await this.etcd.ctlOk('lease', 'list');
    return [
      ...kvs.map(({ key, value }) => `left in etcd: ${key} ${value}`),
      ...leases
        .split('\n')
        .slice(1)
        .map((id) => `left in etcd: lease ${id}`),
    ];
  }

  /** Returns the versions of a set, which etcd keeps until it is compacted. */
  protected async versionsOf(set: string): Promise<SetVersion[]> {
    const key = new EtcdKeys(prefix).recordKey(set);
    const versions: SetVersion[] = [];
    for (let revision = 0; ; ) {
      const { kvs } = await this.#client.range({ key, revision });
      if (!kvs[0]) return versions.reverse();
      const written = Number(kvs[0].mod_revision);
      versions.push({ revision: written, elements: parseSet(String(kvs[0].value)) });
      revision = written - 1;
    }
  }
}

/** The part of etcdctl's answer about a member that the tests use. */
interface Status {
  readonly leader: number;
  readonly header: { readonly member_id: number };
}

/** Applies a fault to all connections of a worker. */
export async function suffer(worker: WorkerProcess, fault: NetworkFault): Promise<void> {
  await Promise.all(worker.network.map((proxy) => proxy.suffer(fault)));
}

export async function cut(worker: WorkerProcess): Promise<void> {
  await Promise.all(worker.network.map((proxy) => proxy.cut()));
}

function hostsOf(etcd: Etcd): string[] {
  return etcd.endpoints.map((url) => new URL(url).host);
}
