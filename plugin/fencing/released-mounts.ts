import type { ReleasedMount, SentinelReport, WatchedVolume } from '../../sentinel/watch.ts';

/**
 * Tells the sentinel which mounts have ended: a volume leaves its watch only by such a word, never
 * because a watch does not list it (this daemon may have lost its mount table). The word is repeated
 * until a report shows that the sentinel does not watch the mount any more.
 */
export class ReleasedMounts {
  /** The mounts in the last watch, by `keyOf`. */
  readonly #listed = new Map<string, ReleasedMount>();
  readonly #released = new Map<string, ReleasedMount>();

  /** True: the sentinel has to be called although nothing is mounted. */
  get isPending(): boolean {
    return this.#released.size > 0;
  }

  /**
   * Returns the mounts that have ended, for a watch that lists these volumes. What an earlier watch of
   * this process listed and this one does not has ended: it is unmounted, or can't be lost any more.
   */
  beside(volumes: readonly WatchedVolume[]): ReleasedMount[] {
    const now = new Map(volumes.map((volume) => [keyOf(volume), markOf(volume)]));
    for (const [key, mount] of this.#listed) if (!now.has(key)) this.#released.set(key, mount);
    this.#listed.clear();
    for (const [key, mount] of now) {
      this.#listed.set(key, mount);
      this.#released.delete(key);
    }
    return [...this.#released.values()];
  }

  /** Adds a mount of an earlier process. */
  add(mount: ReleasedMount): void {
    this.#released.set(keyOf(mount), mount);
  }

  /** Forgets those of the sent mounts that the sentinel does not watch any more. */
  confirm(sent: readonly ReleasedMount[], { watched = {} }: Pick<SentinelReport, 'watched'>): void {
    for (const mount of sent) {
      if (!isListed(mount, watched)) this.#released.delete(keyOf(mount));
    }
  }
}

function isListed(mount: ReleasedMount, watched: NonNullable<SentinelReport['watched']>): boolean {
  const found = Object.hasOwn(watched, mount.volume) ? watched[mount.volume] : undefined;
  return found?.tenure === mount.tenure; // tidy-ok: protocol name
}

// tidy-ok: protocol name
function markOf({ volume, tenure }: ReleasedMount): ReleasedMount {
  return { volume, tenure }; // tidy-ok: protocol name
}

// tidy-ok: protocol name
function keyOf({ volume, tenure }: ReleasedMount): string {
  return JSON.stringify([volume, tenure]); // tidy-ok: protocol name
}
