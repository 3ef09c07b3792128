import createDebug from 'debug';
import type { AppendFile } from '../../linux/append-file.ts';
import { appendFile } from '../../linux/append-file.ts';
import { readIfThere } from '../../linux/state-file.ts';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { Clock } from '../../running/clock.ts';
import { Journal } from '../../running/journal.ts';
import { LatestOnly } from '../../running/latest-only.ts';
import type { RememberedVolumes } from './catalog.ts';
import { clusterKey } from './cluster.ts';
import { RecordMemory } from './record-memory.ts';
import type { LostRecord, ReadRecords, Remembered } from './remembered-text.ts';
import { nothingRemembered, readRecords, recordsText } from './remembered-text.ts';
import { rememberedVolumes } from './remembered-volumes.ts';

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
 * Keeps the records of the store, as this host saw them last, in a file. A daemon that starts while the
 * store is away answers from them; without them, an engine that starts then would wait for each
 * volume that it knows, one after the other. Records that the store has lost are kept until they are put
 * back or given up (`record-memory.ts`).
 *
 * What is remembered changes in the moment in which the mirror does. The file follows within a second: it
 * grows by a line for each change (`remembered-text.ts`, `lib/running/journal.ts`), and is replaced when its
 * changes are longer than the records, so a change costs the same however many volumes there are. Only when
 * the mirror has read everything again, all records are compared. Nothing is synced: a power cut may lose the
 * last changes.
 */
export class RememberedRecords implements AsyncDisposable {
  /** The volumes as this host saw them last, and those of them whose records the store has lost. */
  readonly volumes: { readonly all: RememberedVolumes; readonly lost: RememberedVolumes };
  readonly #options: RememberedRecordsOptions;
  readonly #file: AppendFile;
  readonly #journal: Journal;
  readonly #memory: RecordMemory;
  /** The content of the file. */
  readonly #inFile: Remembered;
  #listening: Disposable | undefined;
  readonly #stopping = new AbortController();
  readonly #writing = new LatestOnly(() => this.#writeSoon());

  private constructor(options: RememberedRecordsOptions, { remembered, isWhole }: ReadRecords) {
    this.#options = options;
    this.#memory = new RecordMemory(remembered);
    const { known, lost } = remembered;
    this.volumes = { all: rememberedVolumes([known, lost]), lost: rememberedVolumes([lost]) };
    this.#file = appendFile(options.path);
    this.#inFile = { ...remembered, known: new Map(known), lost: new Map(lost) };
    const text = () => recordsText(options.store, this.#inFile);
    this.#journal = new Journal(this.#file, text, isWhole);
  }

  static async open(options: RememberedRecordsOptions): Promise<RememberedRecords> {
    return new RememberedRecords(options, await read(options));
  }

  /** The records that the store has lost, by key. */
  get lostRecords(): ReadonlyMap<string, LostRecord> {
    return this.#memory.state.lost;
  }

  /** Gives up the records that the store has lost: all, or those of these keys. */
  forgetLost(keys?: Iterable<string>): void {
    this.#memory.forgetLost(keys);
    void this.#writing.run();
  }

  /** Follows the mirror. */
  follow(mirror: StoreMirror): void {
    const compare = () => this.#memory.reset(mirror.records(), mirror.history);
    this.#listening = mirror.listen((event) => {
      if (event.kind === 'reset') compare();
      else if (event.kind !== 'change' || !mirror.hasBeenLive) return;
      // Mount marks change far more often.
      else if (!this.#memory.change(event.change, mirror.record(clusterKey) !== undefined)) return;
      void this.#writing.run();
    });
    if (!mirror.hasBeenLive) return;
    compare(); // What it read before was not heard here.
    void this.#writing.run();
  }

  /** Writes the last change, if it is not written yet. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listening?.[Symbol.dispose]();
    this.#stopping.abort();
    await this.#writing.idle();
    await this.#journal.idle();
    await this.#file[Symbol.asyncDispose]();
  }

  async #writeSoon(): Promise<void> {
    const { path, clock } = this.#options;
    await clock.sleep(settleMs, this.#stopping.signal);
    if (!this.#memory.isDirty) return;
    try {
      const { lines, apply } = this.#memory.take();
      await this.#journal.append(lines, () => apply(this.#inFile));
    } catch (error) {
      this.#memory.retake(this.#inFile);
      log('ERROR the records are not remembered in %s: %s', path, error);
    }
  }
}

async function read({ path, store }: RememberedRecordsOptions): Promise<ReadRecords> {
  try {
    const text = await readIfThere(path, { trim: false });
    if (text === undefined) return { remembered: nothingRemembered(), isWhole: false };
    const found = readRecords(text, store);
    if (found.problem) log('ERROR the records remembered in %s: %s', path, found.problem);
    return found;
  } catch (error) {
    log('ERROR starting without the remembered records in %s: %s', path, error);
    return { remembered: nothingRemembered(), isWhole: false };
  }
}
