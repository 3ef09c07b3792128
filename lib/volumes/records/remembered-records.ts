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

/** Changes that come together are written together. */
const settleMs = 1_000;

/** Whose records they are, and where they are kept. */
export interface RememberedRecordsOptions {
  readonly path: string;
  /** The store that they come from: those of another are of no use. */
  readonly store: string;
  readonly clock: Clock;
}

/**
 * The volumes' records as this host saw them last, kept in a file. A daemon that starts while the
 * store is away answers from them; else an engine that starts then would wait for each volume that
 * it knows, one after the other. Only a memory: what it has lost or not heard of yet costs that wait.
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

  /** As they were when this was opened. */
  get records(): ReadonlyMap<string, VolumeRecord> {
    return this.#records;
  }

  /** Keeps what `read` answers each time the mirror's records have changed. */
  follow(mirror: StoreMirror, read: () => VolumeRecord[]): void {
    const listener = mirror.listen((event) => {
      if (!mirror.hasBeenLive || !changesRecords(event)) return;
      this.#isStale = true;
      void this.#writing.run();
    });
    this.#following = { read, listener };
  }

  /** Writes what has not been written yet. */
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
