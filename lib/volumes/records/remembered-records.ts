import { isDeepStrictEqual } from 'node:util';
import createDebug from 'debug';
import type { AppendFile } from '../../linux/append-file.ts';
import { appendFile } from '../../linux/append-file.ts';
import { readIfThere } from '../../linux/state-file.ts';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { Clock } from '../../running/clock.ts';
import { Journal } from '../../running/journal.ts';
import { LatestOnly } from '../../running/latest-only.ts';
import { UnavailableError } from '../errors.ts';
import type { VolumeRecord } from '../volume.ts';
import type { Catalog } from './catalog.ts';
import { isRecordKey, nameInKey } from './catalog.ts';
import type { ReadRecords } from './remembered-text.ts';
import { deleteLine, putLine, readRecords, recordsText } from './remembered-text.ts';

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

type ReadCatalog = Pick<Catalog, 'get' | 'list'>;

/**
 * Keeps the volumes' records, as this host saw them last, in a file. A daemon that starts while the
 * store is away answers from them; without them, an engine that starts then would wait for each
 * volume that it knows, one after the other. A record that the file lacks costs only that wait.
 *
 * The file grows by a line for each change (`remembered-text.ts`, `lib/running/journal.ts`), and is replaced
 * when its changes are longer than the records: a change costs the same however many volumes there are. Only
 * when the mirror has read everything again, all records are compared. Nothing is synced: a power cut may
 * lose the last changes.
 */
export class RememberedRecords implements AsyncDisposable {
  readonly #options: RememberedRecordsOptions;
  readonly #file: AppendFile;
  readonly #journal: Journal;
  /** The records that the file has. */
  readonly #records: Map<string, VolumeRecord>;
  /** The volumes whose records have changed since they were written; undefined: any may have. */
  #changed: Set<string> | undefined;
  #following: { readonly catalog: ReadCatalog; readonly listener: Disposable } | undefined;
  readonly #stopping = new AbortController();
  readonly #writing = new LatestOnly(() => this.#writeSoon());

  private constructor(options: RememberedRecordsOptions, { records, isWhole }: ReadRecords) {
    this.#options = options;
    this.#records = records;
    this.#file = appendFile(options.path);
    const text = () => recordsText(options.store, this.#records.values());
    this.#journal = new Journal(this.#file, text, isWhole);
  }

  static async open(options: RememberedRecordsOptions): Promise<RememberedRecords> {
    return new RememberedRecords(options, await read(options));
  }

  /** The records that the file has: those of an earlier process until the mirror has read the store. */
  get records(): ReadonlyMap<string, VolumeRecord> {
    return this.#records;
  }

  /** Writes the records that have changed each time the mirror's records have. */
  follow(mirror: StoreMirror, catalog: ReadCatalog): void {
    const listener = mirror.listen((event) => {
      if (event.kind === 'reset') this.#changed = undefined;
      else if (event.kind !== 'change' || !mirror.hasBeenLive) return;
      else {
        const { records, removedRecords } = event.change;
        const keys = [...records.map(({ key }) => key), ...removedRecords].filter(isRecordKey);
        if (keys.length === 0) return; // Mount marks change far more often.
        for (const key of keys) this.#changed?.add(nameInKey(key));
      }
      void this.#writing.run();
    });
    this.#following = { catalog, listener };
    if (mirror.hasBeenLive) void this.#writing.run(); // What it read before was not heard here.
  }

  /** Writes the last change, if it is not written yet. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#following?.listener[Symbol.dispose]();
    this.#stopping.abort();
    await this.#writing.idle();
    await this.#journal.idle();
    await this.#file[Symbol.asyncDispose]();
  }

  async #writeSoon(): Promise<void> {
    const { path, clock } = this.#options;
    await clock.sleep(settleMs, this.#stopping.signal);
    if (!this.#following) return;
    const { catalog } = this.#following;
    const changes = this.#changed
      ? this.#newsOf(this.#changed, (name) => recordIn(catalog, name))
      : this.#newsOfAll(catalog);
    this.#changed = new Set();
    if (changes.length === 0) return;
    try {
      await this.#journal.append(changes.map(lineOf).join(''), () => this.#remember(changes));
    } catch (error) {
      this.#changed = undefined;
      log('ERROR the records are not remembered in %s: %s', path, error);
    }
  }

  #newsOfAll(catalog: ReadCatalog): Change[] {
    const present = new Map(catalog.list().map((record) => [record.name, record]));
    const names = new Set([...this.#records.keys(), ...present.keys()]);
    return this.#newsOf(names, (name) => present.get(name));
  }

  #newsOf(names: Iterable<string>, read: (name: string) => VolumeRecord | undefined): Change[] {
    const all = [...names].map((name) => ({ name, record: read(name) }));
    return all.filter(({ name, record }) => !isDeepStrictEqual(this.#records.get(name), record));
  }

  #remember(changes: readonly Change[]): void {
    for (const { name, record } of changes) {
      if (record) this.#records.set(name, record);
      else this.#records.delete(name);
    }
  }
}

interface Change {
  readonly name: string;
  /** Undefined: there is no such volume any more. */
  readonly record: VolumeRecord | undefined;
}

function lineOf({ name, record }: Change): string {
  return record ? putLine(record) : deleteLine(name);
}

/** Reads a record from the mirror; undefined: there is none, or none that this release can use. */
function recordIn(catalog: ReadCatalog, name: string): VolumeRecord | undefined {
  try {
    return catalog.get(name);
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}

async function read({ path, store }: RememberedRecordsOptions): Promise<ReadRecords> {
  try {
    const text = await readIfThere(path, { trim: false });
    if (text === undefined) return { records: new Map(), isWhole: false };
    const found = readRecords(text, store);
    if (found.problem) log('ERROR the records remembered in %s: %s', path, found.problem);
    return found;
  } catch (error) {
    log('ERROR starting without the remembered records in %s: %s', path, error);
    return { records: new Map(), isWhole: false };
  }
}
