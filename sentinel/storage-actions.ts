import { messageOf } from '../lib/running/message-of.ts';
import type { StorageAction } from './plan.ts';
import type { FileSystems, MachineClock } from './ports.ts';
import type { SentinelState } from './state.ts';
import type { Tasks } from './tasks.ts';
import type { VolumeFence } from './volume-fence.ts';
import type { WatchedVolume } from './watch.ts';

export interface StorageActionsOptions {
  readonly state: SentinelState;
  readonly fileSystems: FileSystems;
  readonly clock: Pick<MachineClock, 'now'>;
  /** Carries them out beside the loop: each may take for ever where storage hangs. */
  readonly tasks: Pick<Tasks, 'start'>;
}

/** Carries out what a plan wants of the volumes' file systems, and records what came of it. */
export class StorageActions {
  readonly #options: StorageActionsOptions;
  /** The volumes whose file systems this process has frozen, and not thawed since. */
  readonly #own = new Set<string>();

  constructor(options: StorageActionsOptions) {
    this.#options = options;
  }

  /** Records what is about to be done, before `begin`. */
  intend({ do: what, volume }: StorageAction): void {
    if (what === 'flush') this.#enter(volume, 'flushing');
    else if (what === 'freeze' && this.#fs(volume) !== 'freezing') this.#enter(volume, 'freezing');
  }

  begin({ do: what, volume }: StorageAction): void {
    const work = {
      flush: () => this.#flush(volume),
      freeze: () => this.#freeze(volume),
      thaw: () => this.#thaw(volume),
      'cut off': () => this.#cutOff(volume),
    }[what];
    // A freeze and a thaw must not overtake each other.
    const key = what === 'thaw' ? 'freeze' : what;
    this.#options.tasks.start(`${key} ${volume.volume}`, work);
  }

  async #flush(volume: WatchedVolume): Promise<void> {
    await this.#try(volume, "can't be written back", (storage) => storage.flush(volume)).catch(
      () => {
        // It was reported; the freeze writes back, too.
      },
    );
    if (this.#fs(volume) === 'flushing') this.#enter(volume, 'open');
  }

  async #freeze(volume: WatchedVolume): Promise<void> {
    try {
      await this.#try(volume, "can't be frozen", (storage) => this.#freezeNow(storage, volume));
    } catch (error) {
      if (this.#fs(volume) === 'freezing') this.#enter(volume, 'open');
      throw error;
    }
    if (this.#fs(volume) === 'freezing') {
      this.#enter(volume, 'frozen');
      this.#noteIfLate(volume, 'frozen');
    } else if (this.#fs(volume) === 'cut-off') {
      // It was shut down meanwhile; processes that wait in it can die only after a thaw.
      await this.#options.fileSystems.thaw(volume);
    }
  }

  /**
   * Rejects if the freeze is another's: the daemon's, for a copy, which thaws it in the end. A freeze that
   * is not made in time becomes a shutdown (plan.ts).
   */
  async #freezeNow(storage: FileSystems, watched: WatchedVolume): Promise<void> {
    const { volume } = watched;
    const isOwn = (await storage.freeze(watched)) === 'frozen' || this.#own.has(volume);
    if (isOwn) this.#own.add(volume);
    else if (!this.#options.state.mayHaveFrozen(volume)) {
      throw new Error('another program has frozen it, and may thaw it at any time');
    }
    await storage.settle(watched);
  }

  async #thaw(volume: WatchedVolume): Promise<void> {
    await this.#try(volume, "can't be thawed", (storage) => storage.thaw(volume));
    this.#own.delete(volume.volume);
    this.#options.state.thawed(volume.volume);
    const fs = this.#fs(volume);
    if (fs === 'frozen' || fs === 'freezing') this.#enter(volume, 'open');
  }

  async #cutOff(volume: WatchedVolume): Promise<void> {
    await this.#try(volume, "can't be shut down", (storage) => storage.cutOff(volume));
    if (!volume.ownsFileSystem) return;
    this.#enter(volume, 'cut-off');
    if (volume.state !== 'lost') {
      this.#noteIfLate(
        volume,
        'shut down, because it was not frozen: what was not synced is lost,',
      );
    }
  }

  /** Reports a file system that was still being written after the deadline. */
  #noteIfLate({ volume, deadlineMs }: WatchedVolume, what: string): void {
    const { state, clock } = this.#options;
    const lateMs = Math.round(clock.now() - (deadlineMs ?? 0));
    if (deadlineMs === undefined || lateMs <= 0) return;
    state.note('failed', volume, `its file system was ${what} ${lateMs} ms AFTER the deadline`);
  }

  async #try(
    { volume }: WatchedVolume,
    what: string,
    work: (storage: FileSystems) => Promise<void>,
  ): Promise<void> {
    const { state, fileSystems } = this.#options;
    try {
      await work(fileSystems);
    } catch (error) {
      state.complain(volume, `its file system ${what}: ${messageOf(error)}`);
      throw error;
    }
  }

  #fs({ volume }: WatchedVolume): VolumeFence['fs'] {
    return this.#options.state.fence(volume).fs;
  }

  #enter({ volume }: WatchedVolume, fs: VolumeFence['fs']): void {
    const { state, clock } = this.#options;
    state.changeFence(volume, { fs, fsSinceMs: clock.now() });
  }
}
