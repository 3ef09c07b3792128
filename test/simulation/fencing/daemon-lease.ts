import { longTailed } from '../random.ts';
import type { VolumeName } from './commands.ts';
import type { DaemonDisk } from './daemon-disk.ts';
import { marginMs } from './daemon-watch.ts';
import type { Kernel } from './kernel.ts';
import type { SimulatedStore } from './simulated-store.ts';

export interface DaemonLeaseOptions {
  readonly kernel: Kernel;
  readonly store: SimulatedStore;
  readonly disk: DaemonDisk;
  readonly random: () => number;
  readonly isConnected: () => boolean;
  /** Resolves after `ms` of the daemon's time. */
  readonly wait: (ms: number) => Promise<void>;
  /** Is called after each renewal. */
  readonly renewed: () => void;
}

/** How long a container waits for its volumes. */
const lockTimeoutMs = 8_000;

/** The part of a daemon that speaks to the store: its lease, and the queues of volumes. */
export class DaemonLease {
  readonly #options: DaemonLeaseOptions;
  #deadlineMs = Number.NEGATIVE_INFINITY;
  #id: number | undefined;

  constructor(options: DaemonLeaseOptions) {
    this.#options = options;
  }

  get #host(): string {
    return this.#options.kernel.machine.name;
  }

  /** The time by the boot clock after which no lock is proved. */
  get deadlineMs(): number {
    return this.#deadlineMs;
  }

  get isInTime(): boolean {
    return this.#options.kernel.machine.bootMs() < this.#deadlineMs;
  }

  /** Renews the lease for ever. */
  async renew(): Promise<void> {
    const { store, kernel, disk } = this.#options;
    for (;;) {
      const sentAt = kernel.machine.bootMs();
      const lease = await this.call(() => store.renew(this.#host));
      if (lease === undefined) {
        await this.#options.wait(300);
        continue;
      }
      const wasLapsed = !this.isInTime;
      if (wasLapsed || lease !== this.#id) {
        for (const row of disk.rows.values()) row.isProved = false;
      }
      this.#id = lease;
      this.#deadlineMs = sentAt + store.ttlMs - marginMs(store.ttlMs);
      await this.#prove();
      this.#options.renewed();
      await this.#options.wait(store.ttlMs / 3);
    }
  }

  /** Asks for the tickets of the mounts that are not proved. */
  async #prove(): Promise<void> {
    const { store, disk } = this.#options;
    for (const row of [...disk.rows.values()]) {
      if (row.isProved || row.isLost) continue;
      const isMine = await this.call(() => store.attach(this.#host, row.volume, row.mark));
      if (isMine === undefined) continue;
      row.isProved = isMine;
      row.isLost = !isMine;
    }
  }

  /** Waits in the queue of the volume; gives up in the end. */
  async queue(volume: VolumeName, mark: string): Promise<boolean> {
    const { store, kernel } = this.#options;
    const { machine } = kernel;
    const end = machine.bootMs() + lockTimeoutMs;
    let isQueued = false;
    while (machine.bootMs() < end) {
      const lease = this.#id;
      isQueued = true;
      const isAsked = await this.call(() => {
        if (!store.hasLease(this.#host)) return false;
        store.enqueue(this.#host, volume, mark);
        return store.holder(volume)?.mark === mark;
      });
      // An answer of an earlier lease says nothing about this one.
      if (isAsked && lease === this.#id && this.isInTime) return true;
      await this.#options.wait(200);
    }
    while (isQueued) {
      const isDone = await this.call(() => store.remove(this.#host, volume, 'given up') ?? true);
      if (isDone) break;
    }
    return false;
  }

  /** Calls the store; resolves to undefined if the request or the answer does not get through. */
  async call<T>(work: () => T): Promise<T | undefined> {
    const { isConnected, random, wait } = this.#options;
    await wait(longTailed(random, 1, 60));
    if (!isConnected()) {
      await wait(500);
      return undefined;
    }
    const answer = work();
    await wait(longTailed(random, 1, 60));
    return isConnected() ? answer : undefined;
  }
}
