import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import type { EventSink } from '../../lib/volumes/events.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import type { Mounts } from '../../lib/volumes/mounts/mounts.ts';
import type { Engine } from './engine.ts';
import type { UnusedMountsOptions } from './unused-mounts.ts';
import { UnusedMounts } from './unused-mounts.ts';

const log = createDebug('berth:mount');

const engineRetryMs = 1_000;
/** Between an engine's first answer and the list that counts: its containers are starting. */
const settleDelayMs = 2_000;
/** The Unmount of a container comes at about the time when the engine says that it has ended. */
const endDelayMs = 200;

export interface ReconcilerOptions {
  readonly mounts: ReconciledMounts;
  readonly engine: Pick<Engine, 'news' | 'volumesInUse'>;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly isShownElsewhere?: UnusedMountsOptions['isShownElsewhere'];
  /** A number from 0 to 1: hosts must not all look at the same time. */
  readonly random?: () => number;
  /** How often mounts are compared with containers although nothing is known to have happened. */
  readonly intervalMs: number;
  /** Aborts when this daemon stops. */
  readonly signal: AbortSignal;
}

/** What the reconciler does with the mounts. */
export type ReconciledMounts = Pick<
  Mounts,
  'rows' | 'doubt' | 'unconfirm' | 'hasUnconfirmed' | 'settle'
>;

/**
 * Compares the mounts with the engine's containers, and settles those that it will never unmount:
 * when this daemon or an engine has started, when a container has ended, and from time to time.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #unused: UnusedMounts;
  /** What was mounted before the engine that listens now, or this daemon, has started. */
  #before: readonly MountRow[];
  /** Aborting it takes back the next look. */
  #alarm = new AbortController();
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
    const { mounts, clock, signal } = this.#options;
    this.#lookIn(this.#interval());
    let isAway = false;
    for await (const _ of every(engineRetryMs, clock, signal)) {
      const { wasHere, error } = await this.#followEngine();
      if (wasHere) this.#before = mounts.rows();
      if (!isAway || wasHere) log('the engine does not answer: %s', messageOf(error));
      isAway = true;
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
    this.#notBeforeMs = this.#options.clock.now() + settleDelayMs;
    this.#lookIn(settleDelayMs);
  }

  #lookIn(ms: number): void {
    const { clock, signal } = this.#options;
    if (signal.aborted) return;
    const now = clock.now();
    const dueMs = Math.max(now + ms, this.#notBeforeMs);
    if (dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    this.#alarm.abort();
    this.#alarm = new AbortController();
    const cancelled = AbortSignal.any([signal, this.#alarm.signal]);
    void clock.sleep(dueMs - now, cancelled).then(() => {
      if (!cancelled.aborted) void this.#look();
    });
  }

  async #look(): Promise<void> {
    const { mounts, engine, clock, signal } = this.#options;
    this.#dueMs = Number.POSITIVE_INFINITY;
    if (this.#isLooking || clock.now() < this.#notBeforeMs) {
      this.#lookIn(endDelayMs);
      return;
    }
    this.#isLooking = true;
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

  /** Differs between looks and hosts, so that not all of them look at the same time. */
  #interval(): number {
    const { intervalMs, random = Math.random } = this.#options;
    return intervalMs * (0.9 + 0.2 * random());
  }
}
