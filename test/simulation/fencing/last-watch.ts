import type { Watch, WatchChange } from '../../../sentinel/watch.ts';
import { isSameMount, isSameVolume } from '../../../sentinel/watch.ts';

/** The last watch that a sentinel was given, and the name of its state after that. */
export class LastWatch {
  readonly #watch: Watch;
  readonly #base: string;

  constructor(watch: Watch, base: string) {
    this.#watch = watch;
    this.#base = base;
  }

  /**
   * Returns the change from this watch to the next, as a daemon sends it when mounts were added or have
   * ended and nothing else; undefined if there is more, or nothing.
   */
  changeTo({ bootId, volumes, released }: Watch): WatchChange | undefined {
    const before = new Map(this.#watch.volumes.map((volume) => [volume.volume, volume]));
    const isNew = (volume: Watch['volumes'][number]) => {
      const former = before.get(volume.volume);
      return !former || !isSameMount(former, volume);
    };
    const added = volumes.filter(isNew);
    const isPlain = volumes.every((volume) => {
      const former = before.get(volume.volume);
      return isNew(volume) ? volume.state === 'held' : former && isSameVolume(former, volume);
    });
    const present = new Set(volumes.map(({ volume }) => volume));
    const hasAll = this.#watch.volumes.every((former) => {
      return present.has(former.volume) || released.some((each) => isSameMount(each, former));
    });
    if (!isPlain || !hasAll || added.length + released.length === 0) return undefined;
    return { bootId, base: this.#base, released, volumes: added };
  }
}
