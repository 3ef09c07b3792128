import { setTimeout as pause } from 'node:timers/promises';
import { changesAfter } from '../../lib/lock/stores/kept-state.ts';
import type { ApiObject } from '../../lib/lock/stores/kubernetes/api.ts';
import { ApiServer } from '../../lib/lock/stores/kubernetes/api-server.ts';
import { configMapPlace } from '../../lib/lock/stores/kubernetes/place.ts';
import { kubernetesStore } from '../../lib/lock/stores/kubernetes/store.ts';
import type { StoredState } from '../../lib/lock/stores/kubernetes/stored-state.ts';
import { parseState } from '../../lib/lock/stores/kubernetes/stored-state.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { startKubernetes } from '../support/kubernetes.ts';
import { waitFor } from '../support/processes.ts';
import { makeTemporaryDirectory } from '../support/temporary-directory.ts';
import type { SetVersion } from './check-history.ts';
import { parseSet } from './guarded-set.ts';
import type { WorkerBenchParts } from './worker-bench.ts';
import { WorkerBench } from './worker-bench.ts';
import type { WorkerProcess } from './worker-process.ts';

const name = 'chaos';

/** The pause between two reads of the changes. */
const collectMs = 200;

/** One API server, and workers on it. */
export class KubernetesBench extends WorkerBench {
  readonly kubernetes: Kubernetes;
  readonly store: TicketStore;
  /** Kubernetes keeps the last changes only, so they are collected while the workers run. */
  readonly #versions = new Map<string, SetVersion[]>();
  #revision: number | undefined;
  readonly #missed: string[] = [];

  private constructor(kubernetes: Kubernetes, parts: WorkerBenchParts) {
    super(parts);
    this.kubernetes = kubernetes;
    this.store = this.stack.use(kubernetesStore({ ...kubernetes.admin, name }));
    const ending = new AbortController();
    const collecting = this.#collect(ending.signal);
    this.stack.defer(async () => {
      ending.abort();
      await collecting;
    });
  }

  static async open({ ttlMs }: { readonly ttlMs: number }): Promise<KubernetesBench> {
    await using stack = new AsyncDisposableStack();
    const { path: directory } = stack.use(await makeTemporaryDirectory());
    const kubernetes = stack.use(await startKubernetes());
    return new KubernetesBench(kubernetes, { ttlMs, directory, stack: stack.move() });
  }

  worker(worker: string, clockOffsetMs = 0): Promise<WorkerProcess> {
    const options = { ...this.kubernetes.admin, name };
    const store = { kind: 'kubernetes', options } as const;
    return this.start({ name: worker, store, clockOffsetMs, network: [] });
  }

  override async violations(): Promise<string[]> {
    return [...(await super.violations()), ...this.#missed];
  }

  protected async versionsOf(set: string): Promise<SetVersion[]> {
    const last = await this.store.record(set);
    const isCollected = async () => {
      const versions = this.#versions.get(set) ?? [];
      return versions.at(-1)?.revision === last?.revision;
    };
    await waitFor(isCollected, 20_000, `all versions of ${set}`);
    return this.#versions.get(set) ?? [];
  }

  protected async leftOvers(): Promise<string[]> {
    using api = new ApiServer(this.kubernetes.admin);
    const path = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
    const query = `labelSelector=berth.io/store%3D${name}`;
    const { items } = await api.call<{ items: ApiObject[] }>('GET', `${path}?${query}`);
    const tickets = await this.store.tickets();
    return [
      ...items.map(({ metadata }) => `left on the API server: Lease ${metadata.name}`),
      ...tickets.map(
        ({ token, holder }) => `left on the API server: ticket ${token} of ${holder.host}`,
      ),
    ];
  }

  /** Reads the object repeatedly: it holds the last changes, so a short outage of the API server hides none. */
  async #collect(signal: AbortSignal): Promise<void> {
    using api = new ApiServer(this.kubernetes.admin);
    const { path, textIn } = configMapPlace('default', name);
    while (!signal.aborted) {
      const object = await api.call<ApiObject>('GET', path).catch(() => undefined);
      const text = object && textIn(object);
      if (text !== undefined) this.#add(parseState(text, path));
      await pause(collectMs);
    }
  }

  #add(state: StoredState): void {
    const first = state.changes[0]?.revision ?? state.revision + 1;
    const changes = changesAfter(state, this.#revision ?? first - 1);
    if (!changes) this.#missed.push(`changes before revision ${state.revision} were not collected`);
    this.#revision = state.revision;
    for (const { key, value, revision } of changes?.flatMap(({ records }) => records) ?? []) {
      const versions = this.#versions.get(key) ?? [];
      versions.push({ revision, elements: parseSet(value) });
      this.#versions.set(key, versions);
    }
  }
}
