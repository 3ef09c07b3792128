import { setTimeout as pause } from 'node:timers/promises';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { manager } from './manager-bench.ts';

export const ttlMs = 10_000;
/** The TTL minus the margin of a fifth (at most 2 s). */
export const deadlineMs = 8_000;

/** Two hosts on one memory store; a test can break the network of the first, and moves time. */
export class Hosts implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly #shared = memoryState(this.clock);
  readonly network = new FaultyStore(memoryStore({ shared: this.#shared }));
  readonly n1: LockManager = manager(this.network, 'n1', { clock: this.clock, ttlMs });
  readonly n2: LockManager = manager(memoryStore({ shared: this.#shared }), 'n2', {
    clock: this.clock,
    ttlMs,
  });

  /** Advances time in steps, so that timers see the effects of earlier ones. */
  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(left, stepMs));
      await pause(0);
      await pause(0);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.network.cutOff();
    const closed = Promise.all([this.n1.close({ keep: false }), this.n2.close({ keep: false })]);
    await pause(1);
    this.clock.advance(ttlMs);
    await closed;
  }
}
