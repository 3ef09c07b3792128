import createDebug from 'debug';
import { z } from 'zod';
import { readIfThere, replaceFile } from '../../linux/state-file.ts';
import type { MirrorEvent, StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { Clock } from '../../running/clock.ts';
import { LatestOnly } from '../../running/latest-only.ts';
import type { VolumeRecord } from '../volume.ts';
import { recordSchema } from '../volume.ts';
import { isRecordKey } from './catalog.ts';

const log = createDebug('berth:catalog');

/** Changes within this time are written together. */
const settleMs = 1_000;

/** The origin of the records and the place of their file. */
export interface RememberedRecordsOptions {
  readonly path: string;
  /** The store that the records come from: those of another store are ignored. */
  readonly store: string;
  readonly clock: Clock;
}

/**
 * Keeps the volumes' records, as this host saw them last, in a file. A daemon that starts while the
 * store is away answers from them; without them, an engine that starts then would wait for each
 * volume that it knows, one after the other. A record that the file lacks costs only that wait.
 */
export class RememberedRecords implements AsyncDisposable {
  readonly #options: RememberedRecordsOptions;
  readonly #records: ReadonlyMap<string, VolumeRecord>;
  #following: { readonly read: () => VolumeRecord[]; readonly listener: Disposable } | undefined;
  readonly #stopping = new AbortController();
  #isStale = false;
  readonly #writing = new LatestOnly(() => this.#writeSoon());

  private constructor(options: RememberedRecordsOptions, records: readonly VolumeRecord[]) {
    this.#options = options;
    this.#records = new Map(records.map((record) => [record.name, record]));
  }

  static async open(options: RememberedRecordsOptions): Promise<RememberedRecords> {
    return new RememberedRecords(options, await read(options));
  }

  /** The records at the time of `open`. */
  get records(): ReadonlyMap<string, VolumeRecord> {
    return this.#records;
  }

  /** Writes the records that `read` returns each time the mirror's records have changed. */
  follow(mirror: StoreMirror, read: () => VolumeRecord[]): void {
    const listener = mirror.listen((event) => {
      if (!mirror.hasBeenLive || !changesRecords(event)) return;
      this.#isStale = true;
      void this.#writing.run();
    });
    this.#following = { read, listener };
  }

  /** Writes the last change, if it is not written yet. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#following?.listener[Symbol.dispose]();
    this.#stopping.abort();
    await this.#writing.idle();
  }

  async #writeSoon(): Promise<void> {
    const { path, store, clock } = this.#options;
    await clock.sleep(settleMs, this.#stopping.signal);
    if (!this.#isStale || !this.#following) return;
    this.#isStale = false;
    try {
      const remembered: Remembered = { store, records: this.#following.read() };
      await replaceFile(path, JSON.stringify(remembered));
    } catch (error) {
      log('ERROR the records are not remembered in %s: %s', path, error);
    }
  }
}

const rememberedSchema = z.object({ store: z.string(), records: z.array(recordSchema) });
type Remembered = z.infer<typeof rememberedSchema>;

async function read({ path, store }: RememberedRecordsOptions): Promise<readonly VolumeRecord[]> {
  try {
    const text = await readIfThere(path);
    if (text === undefined) return [];
    const remembered = rememberedSchema.parse(JSON.parse(text));
    return remembered.store === store ? remembered.records : [];
  } catch (error) {
    log('ERROR starting without the remembered records in %s: %s', path, error);
    return [];
  }
}

/** True when a volume's record may have changed; mount marks change far more often. */
function changesRecords(event: MirrorEvent): boolean {
  if (event.kind !== 'change') return event.kind === 'reset';
  const { records, removedRecords } = event.change;
  return records.some(({ key }) => isRecordKey(key)) || removedRecords.some(isRecordKey);
}
