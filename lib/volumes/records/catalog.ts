import createDebug from 'debug';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { RecordWrite, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import { UnavailableError } from '../errors.ts';
import type { VolumeRecord } from '../volume.ts';
import { parseRecord } from '../volume.ts';

const log = createDebug('berth:volume');

/** A record with the store's revision of it, which a later write expects. */
export interface CatalogEntry {
  readonly record: VolumeRecord;
  readonly revision: number;
}

const keyPrefix = 'volumes/';

/** Reads the volumes' records: from this process's mirror, or from the store, linearizably. */
export class Catalog {
  readonly #mirror: StoreMirror;
  readonly #store: Pick<TicketStore, 'record'>;
  readonly #remembered: ReadonlyMap<string, VolumeRecord>;
  readonly #parsed = new WeakMap<StoredRecord, CatalogEntry>();

  /** `remembered`: the records to answer until the store has answered for the first time. */
  constructor(
    mirror: StoreMirror,
    store: Pick<TicketStore, 'record'>,
    remembered: ReadonlyMap<string, VolumeRecord> = new Map(),
  ) {
    this.#mirror = mirror;
    this.#store = store;
    this.#remembered = remembered;
  }

  /**
   * Reads the record from the mirror, without asking the store. Undefined: there is no such volume.
   * While the mirror is not live, that can't be known, and an unknown name throws UnavailableError.
   */
  get(name: string): VolumeRecord | undefined {
    const stored = this.#mirror.record(recordKey(name));
    if (stored) return this.#parse(stored).record;
    const remembered = this.#mirror.hasBeenLive ? undefined : this.#remembered.get(name);
    if (remembered) return remembered;
    if (!this.#mirror.isLive) {
      throw new UnavailableError(
        `the store can't be reached, so it is not known whether there is a volume ${name}`,
      );
    }
    return undefined;
  }

  /** Lists the records in the mirror; throws UnavailableError before the store's first answer. */
  list(): VolumeRecord[] {
    if (!this.#mirror.hasBeenLive) {
      if (this.#remembered.size > 0) return [...this.#remembered.values()];
      throw new UnavailableError("the store can't be reached, so the volumes are not known yet");
    }
    const records: VolumeRecord[] = [];
    for (const stored of this.#mirror.records()) {
      if (isRecordKey(stored.key) && this.#isReadable(stored))
        records.push(this.#parse(stored).record);
    }
    return records;
  }

  /** Reads the record from the store (linearizable). For use under the volume's lock. */
  async read(name: string): Promise<CatalogEntry | undefined> {
    return this.entry(await this.#store.record(recordKey(name)));
  }

  /** Reads a record that the store has answered; undefined: there is no such volume. */
  entry(stored: StoredRecord | undefined): CatalogEntry | undefined {
    return stored && this.#parse(stored);
  }

  /** Returns the mark of the volume's last Mount, if there is one. Asks the store itself. */
  async mountMark(volume: string): Promise<string | undefined> {
    return (await this.#store.record(mountMarkKey(volume)))?.value;
  }

  #parse(stored: StoredRecord): CatalogEntry {
    const known = this.#parsed.get(stored);
    if (known) return known;
    const entry = { record: readRecord(stored), revision: stored.revision };
    this.#parsed.set(stored, entry);
    return entry;
  }

  /** Skips unreadable records, so that one does not hide the rest. */
  #isReadable(stored: StoredRecord): boolean {
    try {
      this.#parse(stored);
      return true;
    } catch (error) {
      log('ERROR %s', error);
      return false;
    }
  }
}

function readRecord({ key, value }: StoredRecord): VolumeRecord {
  try {
    return parseRecord(value);
  } catch (error) {
    throw new UnavailableError(
      `the record of volume ${key.slice(keyPrefix.length)} is not one that this version of berth ` +
        `can read; run the version that wrote it, or remove the store's key records/${key}`,
      { cause: error },
    );
  }
}

/**
 * The key of a volume's mount mark, which each Mount writes when it asks for the lock. While the
 * mark has the value that one Mount wrote, nobody else has asked for the volume since, so nobody
 * else can have written to it. Its stored name is older than the word.
 */
export function mountMarkKey(volume: string): string {
  return `tenures/${volume}`; // tidy-ok: stored name
}

/** Returns the key of a volume's record. */
export function recordKey(name: string): string {
  return keyPrefix + name;
}

/** True for the key of a volume's record, false for its mount mark. */
export function isRecordKey(key: string): boolean {
  return key.startsWith(keyPrefix);
}

/** Returns the write that creates a record, or replaces the one at `revision`. */
export function recordWrite(record: VolumeRecord, revision: number): RecordWrite {
  return {
    key: recordKey(record.name),
    value: JSON.stringify(record),
    expectedRevision: revision,
  };
}

/** Returns the writes that delete everything that the store keeps of a volume. */
export function recordDeletion(name: string, revision: number): RecordWrite[] {
  return [
    { key: recordKey(name), value: undefined, expectedRevision: revision },
    { key: mountMarkKey(name), value: undefined },
  ];
}
