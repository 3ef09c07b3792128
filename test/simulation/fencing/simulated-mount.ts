import type { VolumeIdentity } from '../../../sentinel/ports.ts';
import type { Random } from '../random.ts';
import { longTailed } from '../random.ts';

export interface SimulatedMountOptions {
  readonly volume: string;
  readonly mountpoint: string;
  /** True for a file system of its own, which caches writes; false for a shared directory. */
  readonly isOwn: boolean;
  readonly identity: VolumeIdentity;
  readonly random: Random;
}

/** How long cached data remain few after they were written back. */
const cleanMs = 2_000;

/** A volume that is mounted on a host. */
export class SimulatedMount {
  readonly options: SimulatedMountOptions;
  fs: 'open' | 'freezing' | 'frozen' = 'open';
  /** Settles when the freeze in progress has ended. */
  freeze: Promise<void> | undefined;
  isCutOff = false;
  /** False when the host has unmounted it; a process that uses it still may. */
  isMounted = true;
  /** Nobody uses it any more after it was unmounted. */
  isGone = false;
  /** Storage does not answer this host: nothing is read or written. */
  isHung = false;
  /** The time that writing back takes while the disk is slow; else undefined. */
  slowMs: number | undefined;
  /** True while the history says that the kernel writes to it. */
  isWritten = false;
  #cleanUntil = 0;

  constructor(options: SimulatedMountOptions) {
    this.options = options;
  }

  get volume(): string {
    return this.options.volume;
  }

  /** Returns true if a process that writes has to wait, and is not interrupted by signals. */
  get blocks(): boolean {
    if (this.isCutOff) return false;
    return this.isHung || (this.options.isOwn && this.fs !== 'open');
  }

  /** Returns true if the kernel may write cached data to storage. */
  get isOpen(): boolean {
    const { isOwn } = this.options;
    return isOwn && !this.isGone && this.fs !== 'frozen' && !this.isCutOff && !this.isHung;
  }

  /** Returns how long the cached data take to be written back from now on. */
  syncMs(now: number): number {
    const { random } = this.options;
    const ms = this.slowMs ?? longTailed(random, 2, 80);
    return now < this.#cleanUntil ? ms / 10 : ms;
  }

  synced(now: number): void {
    this.#cleanUntil = now + cleanMs;
  }

  describe(): string {
    if (!this.isMounted) return 'unmounted';
    return this.isCutOff ? 'cut off' : this.fs;
  }
}
