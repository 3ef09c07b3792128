import { join } from 'node:path';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import { waitFor } from '../support/processes.ts';
import type { Evidence, SetVersion } from './check-history.ts';
import { violationsIn } from './check-history.ts';
import { parseSet } from './guarded-set.ts';
import { readHistory } from './history.ts';
import type { WorkerOptions } from './worker-process.ts';
import { WorkerProcess } from './worker-process.ts';

/** The parts of a bench: what is disposed of with it, and where the workers write their histories. */
export interface WorkerBenchParts {
  /** How long the store keeps the tickets of a worker without renewals. */
  readonly ttlMs: number;
  readonly directory: string;
  readonly stack: AsyncDisposableStack;
}

/** Workers on one store, and what they leave as evidence. */
export abstract class WorkerBench implements AsyncDisposable {
  readonly ttlMs: number;
  /** A connection that bypasses the faults of the network. */
  abstract readonly store: TicketStore;
  protected readonly stack: AsyncDisposableStack;
  readonly #directory: string;
  readonly #workers: WorkerProcess[] = [];

  constructor({ ttlMs, directory, stack }: WorkerBenchParts) {
    this.ttlMs = ttlMs;
    this.#directory = directory;
    this.stack = stack;
  }

  /** Starts one more worker, with an open session. */
  abstract worker(name: string, clockOffsetMs?: number): Promise<WorkerProcess>;

  /** Returns all versions of a set, oldest first. */
  protected abstract versionsOf(set: string): Promise<SetVersion[]>;

  /** Returns what is left in the store of the workers, in words. */
  protected abstract leftOvers(): Promise<string[]>;

  protected async start(options: Omit<WorkerOptions, 'ttlMs' | 'historyPath'>) {
    const historyPath = join(this.#directory, `${options.name}.jsonl`);
    const worker = await WorkerProcess.start({ ...options, ttlMs: this.ttlMs, historyPath });
    this.stack.use(worker);
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

  /** Ends the living workers, each after its last step, and returns what all of them did. */
  async evidence(): Promise<Evidence> {
    const living = this.#workers.filter(({ hasEnded }) => !hasEnded);
    await Promise.all(living.map((worker) => worker.rest()));
    await Promise.all(living.map((worker) => worker.close()));
    const events = readHistory(this.#workers.map(({ historyPath }) => historyPath));
    const names = new Set(events.flatMap((event) => ('sets' in event ? event.sets : [])));
    const sets = new Map<string, SetVersion[]>();
    for (const name of names) sets.set(name, await this.versionsOf(name));
    return { events, sets };
  }

  /**
   * Ends the workers and returns every violation, in words. After the TTL of killed workers it also
   * checks that nothing is left in the store.
   */
  async violations(): Promise<string[]> {
    const crashes = this.#workers.flatMap(({ name, crash }) =>
      crash === undefined ? [] : [`${name} has ended by itself: ${crash}`],
    );
    const violations = [...crashes, ...violationsIn(await this.evidence())];
    const limitMs = this.ttlMs + 10_000;
    await waitFor(
      async () => (await this.leftOvers()).length === 0,
      limitMs,
      'the store to be empty',
    ).catch(async () => violations.push(...(await this.leftOvers())));
    return violations;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stack.disposeAsync();
  }
}
