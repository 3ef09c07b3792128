import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import type { EventSink } from '../../lib/volumes/events.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import type { Mounts } from '../../lib/volumes/mounts/mounts.ts';
import type { Engine } from './engine.ts';
import { UnusedMounts } from './unused-mounts.ts';

const log = createDebug('berth:mount');

const engineRetryMs = 1_000;
/** Between an engine's first answer and the list that counts: its containers are starting. */
const settleDelayMs = 2_000;
/** The Unmount of a container comes at about the time when the engine says that it has ended. */
const endDelayMs = 200;

export interface ReconcilerOptions {
  readonly mounts: Mounts;
  readonly engine: Engine;
  readonly events: EventSink;
  /** How often mounts are compared with containers although nothing is known to have happened. */
  readonly intervalMs: number;
  /** Aborts when this daemon stops. */
  readonly signal: AbortSignal;
}

/**
 * Compares the mounts with the engine's containers, and settles those that it will never unmount:
 * when this daemon or an engine has started, when a container has ended, and from time to time.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #unused: UnusedMounts;
  /** What was mounted before the engine that listens now, or this daemon, has started. */
  #before: readonly MountRow[];
  #timer: NodeJS.Timeout | undefined;
  /** When the next look is due. */
  #dueMs = Number.POSITIVE_INFINITY;
  /** Earlier looks would take containers that are starting for dead ones. */
  #notBeforeMs = 0;
  #isLooking = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    // It takes several looks.
    this.#unused = new UnusedMounts({ ...options, graceMs: 3 * options.intervalMs });
    this.#before = options.mounts.rows();
  }

  /** Goes on until this daemon stops. The mounts of the one before have been taken over. */
  async run(): Promise<void> {
    const { mounts, signal } = this.#options;
    signal.addEventListener('abort', () => clearTimeout(this.#timer), { once: true });
    this.#lookIn(this.#interval());
    let isAway = false;
    while (!signal.aborted) {
      const { wasHere, error } = await this.#followEngine();
      if (wasHere) this.#before = mounts.rows();
      if (!isAway || wasHere) log('the engine does not answer: %s', error);
      isAway = true;
      await sleep(engineRetryMs, undefined, { signal, ref: false }).catch(() => {
        // Stopping: so does the loop.
      });
    }
  }

  /**
   * Has the mounts checked soon, as if this daemon had just started. Rejects when the engine is
   * away.
   */
  async check(): Promise<void> {
    await this.#doubt(this.#options.mounts.rows());
  }

  /** A new engine process talks to us: it has forgotten the mounts of the one before. */
  engineStarted(): void {
    const { mounts } = this.#options;
    const volumes = mounts.rows().map(({ volume }) => volume);
    log('a new engine process is here; %d volumes are mounted', volumes.length);
    void mounts.unconfirm(volumes).then(
      () => this.#lookWhenSettled(),
      (error) => log('ERROR %s', error),
    );
  }

  /** Returns when the engine is away. */
  async #followEngine(): Promise<{ wasHere: boolean; error: unknown }> {
    const { mounts, engine, signal } = this.#options;
    let wasHere = false;
    try {
      for await (const news of engine.news(signal)) {
        // It may be another, without a word: a managed plugin, for one, is not activated.
        if (news === 'listens') await this.#doubt(this.#before);
        else if (mounts.hasUnconfirmed()) this.#lookIn(endDelayMs);
        wasHere = true;
      }
      return { wasHere, error: 'it has ended' };
    } catch (error) {
      return { wasHere, error };
    }
  }

  /** These mounts may have been forgotten, unless a container that runs has the volume. */
  async #doubt(rows: readonly MountRow[]): Promise<void> {
    const { mounts, engine, signal } = this.#options;
    const inUse = await engine.volumesInUse(signal);
    await mounts.doubt(rows.filter(({ volume }) => inUse.get(volume) !== 'live'));
    this.#lookWhenSettled();
  }

  #lookWhenSettled(): void {
    this.#notBeforeMs = performance.now() + settleDelayMs;
    this.#lookIn(settleDelayMs);
  }

  #lookIn(ms: number): void {
    if (this.#options.signal.aborted) return;
    const now = performance.now();
    const dueMs = Math.max(now + ms, this.#notBeforeMs);
    if (dueMs >= this.#dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => void this.#look(), dueMs - now).unref();
  }

  async #look(): Promise<void> {
    this.#dueMs = Number.POSITIVE_INFINITY;
    if (this.#isLooking || performance.now() < this.#notBeforeMs) {
      this.#lookIn(endDelayMs);
      return;
    }
    this.#isLooking = true;
    const { mounts, engine, signal } = this.#options;
    try {
      const rows = mounts.rows();
      if (rows.length > 0) await this.#unused.drop(rows, await engine.volumesInUse(signal));
    } catch (error) {
      // Once it answers, there is another look.
      log('cannot compare mounts with containers: %s', error);
    }
    this.#isLooking = false;
    this.#lookIn(this.#interval());
  }

  /** Not at the same time on all hosts. */
  #interval(): number {
    return this.#options.intervalMs * (0.9 + 0.2 * Math.random());
  }
}
