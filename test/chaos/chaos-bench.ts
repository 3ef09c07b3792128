import { join } from 'node:path';
import { EtcdClient } from '../../lib/etcd/client.ts';
import { readAll } from '../../lib/etcd/ranges.ts';
import { EtcdKeys } from '../../lib/lock/stores/etcd/keys.ts';
import { EtcdStore } from '../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../support/etcd-server.ts';
import { startEtcd } from '../support/etcd-server.ts';
import { waitFor } from '../support/processes.ts';
import type { NetworkFault, TcpProxy } from '../support/tcp-proxy.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { makeTemporaryDirectory } from '../support/temporary-directory.ts';
import type { EtcdVersion } from '../support/tools.ts';
import type { Evidence, SetVersion } from './check-history.ts';
import { violationsIn } from './check-history.ts';
import { parseSet } from './guarded-set.ts';
import { readHistory } from './history.ts';
import { WorkerProcess } from './worker-process.ts';

const prefix = '/berth';

export interface ChaosOptions {
  readonly members: 1 | 3;
  readonly version?: EtcdVersion;
  /** How long etcd keeps the tickets of a worker without renewals. */
  readonly ttlMs: number;
}

/** One etcd, and workers that reach each member through a network of their own. */
export class ChaosBench implements AsyncDisposable {
  readonly etcd: Etcd;
  readonly ttlMs: number;
  /** A connection that bypasses the faults of the network. */
  readonly store: EtcdStore;
  readonly #client: EtcdClient;
  readonly #directory: string;
  readonly #workers: WorkerProcess[] = [];
  readonly #stack: AsyncDisposableStack;

  private constructor(etcd: Etcd, ttlMs: number, directory: string, stack: AsyncDisposableStack) {
    this.etcd = etcd;
    this.ttlMs = ttlMs;
    this.#client = new EtcdClient({ endpoints: hostsOf(etcd) });
    this.store = stack.use(new EtcdStore(this.#client, prefix));
    this.#directory = directory;
    this.#stack = stack;
  }

  static async open({ members, version = '3.5', ttlMs }: ChaosOptions): Promise<ChaosBench> {
    await using stack = new AsyncDisposableStack();
    const directory = stack.use(await makeTemporaryDirectory());
    const etcd = stack.use(await startEtcd({ members, version }));
    return new ChaosBench(etcd, ttlMs, directory.path, stack.move());
  }

  /** Starts one more worker, with an open session. */
  async worker(name: string, clockOffsetMs = 0): Promise<WorkerProcess> {
    const network: TcpProxy[] = [];
    for (const host of hostsOf(this.etcd)) network.push(this.#stack.use(await startTcpProxy(host)));
    const worker = await WorkerProcess.start({
      name,
      endpoints: network.map(({ address }) => address),
      prefix,
      ttlMs: this.ttlMs,
      historyPath: join(this.#directory, `${name}.jsonl`),
      clockOffsetMs,
      network,
    });
    this.#stack.use(worker);
    this.#workers.push(worker);
    await worker.open();
    return worker;
  }

  async workers<const Names extends readonly string[]>(
    ...names: Names
  ): Promise<{ readonly [Index in keyof Names]: WorkerProcess }> {
    const workers = await Promise.all(names.map((name) => this.worker(name)));
    return workers as { readonly [Index in keyof Names]: WorkerProcess };
  }

  /** Starts two more workers, which add to sets of their own during the test. */
  async bystanders(): Promise<readonly WorkerProcess[]> {
    const workers = await this.workers('bystander-1', 'bystander-2');
    await Promise.all(workers.map((worker, index) => worker.work(['x', 'y'], index)));
    return workers;
  }

  /** Resolves when the lock of a set has this many tickets. */
  async queueOf(set: string, length: number): Promise<void> {
    const what = `${length} tickets on ${set}`;
    await waitFor(async () => (await this.store.tickets(set)).length === length, 10_000, what);
  }

  /** Resolves when the worker has written another element. */
  async progressOf(worker: WorkerProcess, set: string, limitMs: number): Promise<void> {
    let before: number | undefined;
    const hasGrown = async () => {
      const elements = parseSet((await this.store.record(set))?.value);
      const own = elements.filter(([element]) => element.startsWith(`${worker.name}-`)).length;
      before ??= own;
      return own > before;
    };
    await waitFor(hasGrown, limitMs, `${worker.name} to write to ${set}`);
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

  /** Ends the living workers, each after its last step, and returns what all of them did. */
  async evidence(): Promise<Evidence> {
    const living = this.#workers.filter(({ hasEnded }) => !hasEnded);
    await Promise.all(living.map((worker) => worker.rest()));
    await Promise.all(living.map((worker) => worker.close()));
    const events = readHistory(this.#workers.map(({ historyPath }) => historyPath));
    const names = new Set(events.flatMap((event) => ('sets' in event ? event.sets : [])));
    const sets = new Map<string, SetVersion[]>();
    for (const name of names) sets.set(name, await this.#versionsOf(name));
    return { events, sets };
  }

  /**
   * Ends the workers and returns every violation, in words. After the TTL of killed workers it also
   * checks that nothing is left in etcd.
   */
  async violations(): Promise<string[]> {
    const crashes = this.#workers.flatMap(({ name, crash }) =>
      crash === undefined ? [] : [`${name} has ended by itself: ${crash}`],
    );
    const violations = [...crashes, ...violationsIn(await this.evidence())];
    const limitMs = this.ttlMs + 10_000;
    await waitFor(
      async () => (await this.#leftOvers()).length === 0,
      limitMs,
      'etcd to be empty',
    ).catch(async () => violations.push(...(await this.#leftOvers())));
    return violations;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  async #leftOvers(): Promise<string[]> {
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

  /** Returns all versions of a set, which etcd keeps until it is compacted. */
  async #versionsOf(set: string): Promise<SetVersion[]> {
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
