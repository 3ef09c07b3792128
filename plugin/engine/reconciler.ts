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
/** How long after an engine's first answer its list counts: containers are still starting. */
const settleDelayMs = 2_000;
/**
 * How long after the event of a container's end the looks follow each other, while uses are
 * unconfirmed. The engine sends the event before it unmounts the container's volumes and before it
 * lists the container as ended (moby, daemon/monitor.go, handleContainerExit), which takes seconds on
 * a busy machine.
 */
const endDelaysMs = [200, 1_000, 5_000, 20_000];
const retryDelayMs = 200;

export interface ReconcilerOptions {
  readonly mounts: ReconciledMounts;
  readonly engine: Pick<Engine, 'news' | 'volumesInUse'>;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly isShownElsewhere?: UnusedMountsOptions['isShownElsewhere'];
  /** A number from 0 to 1: hosts must not all look at the same time. */
  readonly random?: () => number;
  /** How often mounts are compared with containers without any event. */
  readonly intervalMs: number;
  /** Aborts when this daemon stops. */
  readonly signal: AbortSignal;
}

/** The mounts, as the reconciler uses them. */
export type ReconciledMounts = Pick<
  Mounts,
  'rows' | 'doubt' | 'unconfirm' | 'hasUnconfirmed' | 'settle'
>;

/**
 * Compares the mounts with the engine's containers, and settles mounts that the engine will never
 * unmount. It looks when this daemon or an engine has started, when a container has ended, and from
 * time to time. README.md has the picture.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #unused: UnusedMounts;
  /** The mounts from before the start of the engine that answers now, or of this daemon. */
  #before: readonly MountRow[];
  /** Abort it to cancel the next look. */
  #alarm = new AbortController();
  /** The time of the next look. */
  #dueMs = Number.POSITIVE_INFINITY;
  /** The earliest time of a look: an earlier one would miss containers that are starting. */
  #notBeforeMs = 0;
  #isLooking = false;
  /** The delays of the looks that still follow a container's end. */
  #endDelays: readonly number[] = [];

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    // Several looks fit into the grace.
    this.#unused = new UnusedMounts({ ...options, graceMs: 3 * options.intervalMs });
    this.#before = options.mounts.rows();
  }

  /** Runs until this daemon stops. Call it after the mounts of the previous daemon were adopted. */
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
   * Schedules a look as after a start of this daemon. Rejects when the engine does not answer.
   */
  async check(): Promise<void> {
    await this.#doubt(this.#options.mounts.rows());
  }

  /** Call when a new engine process activates the plugin: it does not know the old mounts. */
  engineStarted(): void {
    const { mounts } = this.#options;
    const volumes = mounts.rows().map(({ volume }) => volume);
    log('a new engine process has started; %d volumes are mounted', volumes.length);
    void mounts.unconfirm(volumes).then(
      () => this.#lookWhenSettled(),
      (error) => log('ERROR %s', error),
    );
  }

  /** Follows the engine's events; returns when the engine does not answer any more. */
  async #followEngine(): Promise<{ wasHere: boolean; error: unknown }> {
    const { engine, signal } = this.#options;
    let wasHere = false;
    try {
      for await (const news of engine.news(signal)) {
        // This may be a new engine process: it does not activate a managed plugin again.
        if (news === 'listens') await this.#doubt(this.#before);
        else this.#lookAfterEnd(endDelaysMs);
        wasHere = true;
      }
      return { wasHere, error: 'the engine has ended' };
    } catch (error) {
      return { wasHere, error };
    }
  }

  /** Makes the uses of these mounts unconfirmed, unless a live container uses the volume. */
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
      this.#lookIn(retryDelayMs);
      return;
    }
    this.#isLooking = true;
    try {
      const rows = mounts.rows();
      if (rows.length > 0) await this.#unused.drop(rows, await engine.volumesInUse(signal));
    } catch (error) {
      // The next look tries again.
      log('cannot compare mounts with containers: %s', error);
    }
    this.#isLooking = false;
    this.#lookIn(this.#interval());
    this.#lookAfterEnd(this.#endDelays);
  }

  #lookAfterEnd(delays: readonly number[]): void {
    const [next, ...later] = this.#options.mounts.hasUnconfirmed() ? delays : [];
    this.#endDelays = later;
    if (next !== undefined) this.#lookIn(next);
  }

  /** Differs between looks and hosts, so that not all of them look at the same time. */
  #interval(): number {
    const { intervalMs, random = Math.random } = this.#options;
    return intervalMs * (0.9 + 0.2 * random());
  }
}
