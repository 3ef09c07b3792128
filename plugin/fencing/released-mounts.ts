import type { ReleasedMount, SentinelReport, WatchedVolume } from '../../sentinel/watch.ts';
import { isSameMount, isSameVolume } from '../../sentinel/watch.ts';

/** The part of the watch of some volumes that the sentinel does not have yet. */
export interface MountNews {
  /** Volumes that the last watch did not list. */
  readonly added: readonly WatchedVolume[];
  /** Mounts that have ended. */
  readonly released: readonly ReleasedMount[];
  /** True: a listed volume has changed, by more than its deadline. */
  readonly hasChanged: boolean;
}

/**
 * Tells the sentinel which mounts have ended: a volume leaves its watch only by such a word, never
 * because a watch does not list it (this daemon may have lost its mount table). The word is repeated
 * until the sentinel does not watch the mount any more.
 */
export class ReleasedMounts {
  /** The mounts in the last watch, by volume. */
  readonly #listed = new Map<string, WatchedVolume>();
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
    const now = new Map(volumes.map((volume) => [volume.volume, volume]));
    for (const name of [...this.#listed.keys()]) if (!now.has(name)) this.#list(name, undefined);
    for (const [name, volume] of now) this.#list(name, volume);
    return [...this.#released.values()];
  }

  /** Does the same for these volumes alone, of which `present` are mounted: what is new of them? */
  newsOf(names: Iterable<string>, present: readonly WatchedVolume[]): MountNews {
    const now = new Map(present.map((volume) => [volume.volume, volume]));
    const added: WatchedVolume[] = [];
    let hasChanged = false;
    for (const name of names) {
      const volume = now.get(name);
      const former = this.#list(name, volume);
      if (!volume) continue;
      if (!former || !isSameMount(former, volume)) added.push(volume);
      else if (!isSameVolume(former, volume)) hasChanged = true;
    }
    return { added, released: [...this.#released.values()], hasChanged };
  }

  /** Lists a volume, or no more, and returns what was listed of it. */
  #list(name: string, volume: WatchedVolume | undefined): WatchedVolume | undefined {
    const former = this.#listed.get(name);
    if (former && !(volume && isSameMount(former, volume))) {
      this.#released.set(keyOf(former), markOf(former));
    }
    if (volume) {
      this.#listed.set(name, volume);
      this.#released.delete(keyOf(volume));
    } else {
      this.#listed.delete(name);
    }
    return former;
  }

  /** Adds a mount of an earlier process. */
  add(mount: ReleasedMount): void {
    this.#released.set(keyOf(mount), mount);
  }

  /** Forgets those of the sent mounts that the sentinel has taken out of its watch. */
  taken(sent: readonly ReleasedMount[]): void {
    for (const mount of sent) this.#released.delete(keyOf(mount));
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
  return `${tenure} ${volume}`; // tidy-ok: protocol name; a mark has no blank
}
