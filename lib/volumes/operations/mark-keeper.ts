import createDebug from 'debug';
import type { MirrorEvent, StoreMirror } from '../../lock/engine/store-mirror.ts';
import { RecordConflictError } from '../../lock/errors.ts';
import type { Clock } from '../../running/clock.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { MountStates } from '../mounts/mount-state.ts';
import type { Mounts } from '../mounts/mounts.ts';
import { isMountMarkKey, mountMarkKey, volumeOfMark } from '../records/catalog.ts';
import type { Claimant } from '../records/claims.ts';
import { claimKey, claimText } from '../records/claims.ts';

const log = createDebug('berth:mount');

export interface MarkKeeperOptions {
  readonly mirror: Pick<StoreMirror, 'listen' | 'records'>;
  readonly mounts: Pick<Mounts, 'get'>;
  readonly states: Pick<MountStates, 'lock'>;
  readonly mutex: KeyedMutex;
  readonly claimant: Claimant;
  readonly clock: Pick<Clock, 'date'>;
}

/**
 * Writes the mount mark and the claim of a volume again that were deleted in the store while this host holds the
 * volume's lock: berth deletes a mark only with its volume. Without the mark, the host would have to take the
 * next lapse of its session for a loss, and end the containers, although nobody has asked for the volume.
 *
 * The mark that was deleted was this host's, so nobody had asked before; the new one is written only where there
 * is none, so nobody has asked since.
 */
export class MarkKeeper {
  readonly #options: MarkKeeperOptions;
  /** The marks as the mirror has them, by volume. */
  readonly #marks = new Map<string, string>();

  constructor(options: MarkKeeperOptions) {
    this.#options = options;
  }

  /** Follows the mirror until disposed. */
  follow(): Disposable {
    return this.#options.mirror.listen((event) => this.#note(event));
  }

  #note(event: MirrorEvent): void {
    // What was asked while the mirror was not told is not known.
    if (event.kind === 'reset') this.#marks.clear();
    if (event.kind !== 'change' && event.kind !== 'reset') return;
    const { records, removedRecords } =
      event.kind === 'change'
        ? event.change
        : { records: this.#options.mirror.records(), removedRecords: [] };
    for (const { key, value } of records) {
      if (isMountMarkKey(key)) this.#marks.set(volumeOfMark(key), value);
    }
    for (const key of removedRecords) if (isMountMarkKey(key)) this.#removed(volumeOfMark(key));
  }

  #removed(volume: string): void {
    const mark = this.#marks.get(volume);
    this.#marks.delete(volume);
    if (mark === undefined || this.#options.mounts.get(volume)?.mountMark !== mark) return;
    void this.#options.mutex
      .run(volume, () => this.#write(volume, mark))
      .catch((error) => log('volume=%s its mark is not written again: %s', volume, error));
  }

  async #write(volume: string, mark: string): Promise<void> {
    const { mounts, states, claimant, clock } = this.#options;
    const lock = states.lock(volume);
    if (mounts.get(volume)?.mountMark !== mark || lock?.state !== 'held') return;
    const claim = claimKey(volume, mark);
    const writes = [
      { key: mountMarkKey(volume), value: mark },
      ...(claim === undefined ? [] : [{ key: claim, value: claimText(claimant, clock.date()) }]),
    ];
    for (const write of writes) {
      try {
        await lock.guard([{ ...write, expectedRevision: 0 }]);
        log(
          'WARNING volume=%s: %s was deleted in the store, and is written again',
          volume,
          write.key,
        );
      } catch (error) {
        if (!(error instanceof RecordConflictError)) throw error; // Another host has asked since.
      }
    }
  }
}
