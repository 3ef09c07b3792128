import type { ReleasedMount } from '../../../sentinel/watch.ts';
import type { VolumeName } from './commands.ts';

/** A mounted volume. */
export interface Row {
  readonly volume: VolumeName;
  /** The mount mark. */
  readonly mark: string;
  /** The store has confirmed the lock in this session period. */
  isProved: boolean;
  isLost: boolean;
  isEvicted: boolean;
  /** The mount is older than the daemon. */
  isAdopted: boolean;
  readonly containers: Set<string>;
  /** The time until which its users stand still for a copy; a successor does not know it. */
  stillUntilMs?: number | undefined;
}

/** Keeps a daemon's table for its successor. */
export class DaemonDisk {
  readonly rows = new Map<VolumeName, Row>();
  released: ReleasedMount[] = [];
  readonly #host: string;
  #marks = 0;

  constructor(host: string) {
    this.#host = host;
  }

  newMark(): string {
    this.#marks += 1;
    return `${this.#host}-${this.#marks}`;
  }
}

export function mountpointOf(volume: VolumeName): string {
  return `/mounts/${volume}`;
}
