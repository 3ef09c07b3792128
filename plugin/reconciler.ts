import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import type { HostMounts } from '../lib/volumes/host-mounts.ts';
import type { Engine } from './engine.ts';

const log = createDebug('berth:mount');

const engineRetryMs = 5_000;
/** Between the engine's first answer and the list that counts: its containers are starting. */
const settleDelayMs = 2_000;
const repeatMs = 30_000;

/**
 * Settles the mounts that an engine may never unmount: after its crash it sends no Unmount for
 * containers that died with it, and repeats the Mount of those it starts again with the same ID.
 */
export class Reconciler {
  readonly #mounts: HostMounts;
  readonly #engine: Engine;
  readonly #signal: AbortSignal;
  #running: Promise<void> | undefined;

  constructor(mounts: HostMounts, engine: Engine, signal: AbortSignal) {
    this.#mounts = mounts;
    this.#engine = engine;
    this.#signal = signal;
  }

  /** This daemon has started: the mounts it took over are checked against the containers. */
  async daemonStarted(): Promise<void> {
    if (this.#mounts.rows().length === 0) return;
    const inUse = await this.#volumesInUse();
    if (!inUse) return;
    const unused = this.#mounts.rows().filter(({ volume }) => !inUse.has(volume));
    await this.#mounts.unconfirm(unused.map(({ volume }) => volume));
    this.#settleSoon();
  }

  /** A new engine process talks to us: it has forgotten the mounts of the one before. */
  engineStarted(): void {
    const volumes = this.#mounts.rows().map(({ volume }) => volume);
    log('a new engine process is here; %d volumes are mounted', volumes.length);
    void this.#mounts.unconfirm(volumes).then(
      () => this.#settleSoon(),
      (error) => log('ERROR %s', error),
    );
  }

  #settleSoon(): void {
    this.#running ??= this.#settle()
      .catch((error) => log('ERROR settling mounts: %s', error))
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #settle(): Promise<void> {
    while (this.#mounts.hasUnconfirmed()) {
      await this.#volumesInUse();
      await this.#pause(settleDelayMs);
      const inUse = await this.#volumesInUse();
      if (!inUse) return;
      await this.#mounts.settle(inUse);
      if (!this.#mounts.hasUnconfirmed()) return;
      await this.#pause(repeatMs);
      if (this.#signal.aborted) return;
    }
  }

  /** Waits for the engine; undefined when this daemon stops meanwhile. */
  async #volumesInUse(): Promise<ReadonlySet<string> | undefined> {
    while (!this.#signal.aborted) {
      try {
        return await this.#engine.volumesInUse();
      } catch (error) {
        log('the engine does not answer: %s', error);
        await this.#pause(engineRetryMs);
      }
    }
    return undefined;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal, ref: false }).catch(() => {
      // Stopping: the callers look at the signal.
    });
  }
}
