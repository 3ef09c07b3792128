import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { RecordWrite, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import { NotFoundError, UnavailableError } from '../errors.ts';
import { readStored, shownKey, UnreadableRecordError } from '../stored-text.ts';
import type { VolumeRecord } from '../volume.ts';
import { isVolumeName, recordSchema } from '../volume.ts';

/** A record with the store's revision of it, which a later write expects. */
export interface CatalogEntry {
  readonly record: VolumeRecord;
  readonly revision: number;
}

/** The volumes that this host remembers. */
export interface RememberedVolumes {
  /** True for the name of any record, also of one that only keeps a name or that this release can't use. */
  has(name: string): boolean;
  get(name: string): VolumeRecord | undefined;
  list(): readonly VolumeRecord[];
}

const none: RememberedVolumes = { has: () => false, get: () => undefined, list: () => [] };

const keyPrefix = 'volumes/';

type RecordsMirror = Pick<StoreMirror, 'record' | 'records' | 'isLive' | 'hasBeenLive'>;

/**
 * Reads the volumes' records: from this process's mirror, or from the store, linearizably. A record that only keeps
 * a name during a rename is no volume: `get` and `list` leave it out, `read` and `entry` return it.
 */
export class Catalog {
  readonly #mirror: RecordsMirror;
  readonly #store: Pick<TicketStore, 'record'>;
  readonly #remembered: { readonly all: RememberedVolumes; readonly lost: RememberedVolumes };
  readonly #parsed = new WeakMap<StoredRecord, CatalogEntry | UnreadableRecordError>();

  /** `remembered`: `all` answers until the store has answered for the first time, `lost` what it lacks since. */
  constructor(
    mirror: RecordsMirror,
    store: Pick<TicketStore, 'record'>,
    remembered = { all: none, lost: none },
  ) {
    this.#mirror = mirror;
    this.#store = store;
    this.#remembered = remembered;
  }

  /**
   * Reads the record from the mirror, without asking the store; one that the store has lost is as this host
   * remembers it (`isLost`). Undefined: there is no such volume.
   * While the mirror is not live, that can't be known, and an unknown name throws UnavailableError. A record
   * that this release can't use throws UnreadableRecordError, which is one.
   */
  get(name: string): VolumeRecord | undefined {
    const stored = this.#mirror.record(recordKey(name));
    if (stored) return volumeIn(this.#parse(stored));
    const { all, lost } = this.#remembered;
    const remembered = (this.#mirror.hasBeenLive ? lost : all).get(name);
    if (remembered) return remembered;
    if (!this.#mirror.isLive) {
      throw new UnavailableError(
        `the store can't be reached, so it is not known whether there is a volume ${name}`,
      );
    }
    return undefined;
  }

  /**
   * Lists the records in the mirror that this release can use; `unreadable` has the others. Throws
   * UnavailableError before the store's first answer.
   */
  list(): VolumeRecord[] {
    if (!this.#mirror.hasBeenLive) {
      const all = [...this.#remembered.all.list()];
      if (all.length > 0) return all;
      throw new UnavailableError("the store can't be reached, so the volumes are not known yet");
    }
    const stored = this.#all().flatMap((each) => ('record' in each ? (volumeIn(each) ?? []) : []));
    const lost = this.#remembered.lost.list();
    return [...stored, ...lost.filter(({ name }) => !this.#mirror.record(recordKey(name)))];
  }

  /** Returns the error for a name without a volume; it says which name the volume has that had this one. Never throws. */
  notFound(name: string): NotFoundError {
    const records = this.#all().flatMap((each) => ('record' in each ? each.record : []));
    for (const { name: now, formerNames = [] } of records) {
      const former = formerNames.findLast((each) => each.name === name);
      if (former === undefined) continue;
      return new NotFoundError(
        `no such volume: ${name}; it was renamed to ${now} at ${former.until} by host ${former.by}`,
      );
    }
    return new NotFoundError(`no such volume: ${name}`);
  }

  /**
   * True for a name whose record the store has lost: only this host's memory answers for it. Also for one that
   * `get` leaves out: storage of that name is not storage without a record.
   */
  isLost(name: string): boolean {
    return !this.#mirror.record(recordKey(name)) && this.#remembered.lost.has(name);
  }

  /** Lists the records in the mirror that this release can't use. */
  unreadable(): UnreadableRecord[] {
    return this.#all().flatMap((each) => ('error' in each ? each : []));
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
    const known = this.#parsed.get(stored) ?? entryOf(stored);
    this.#parsed.set(stored, known);
    if (known instanceof UnreadableRecordError) throw known;
    return known;
  }

  #all(): (CatalogEntry | UnreadableRecord)[] {
    const all: (CatalogEntry | UnreadableRecord)[] = [];
    for (const stored of this.#mirror.records()) {
      if (!isRecordKey(stored.key)) continue;
      try {
        all.push(this.#parse(stored));
      } catch (error) {
        if (!(error instanceof UnreadableRecordError)) throw error;
        const name = nameInKey(stored.key);
        all.push({ error, ...(isVolumeName(name) && { name }) });
      }
    }
    return all;
  }
}

function volumeIn({ record }: CatalogEntry): VolumeRecord | undefined {
  return record.renamingFrom === undefined ? record : undefined;
}

/** A volume's record that this release can't use. */
export interface UnreadableRecord {
  /** Absent: its key has no name that a volume can have. */
  readonly name?: string;
  readonly error: UnreadableRecordError;
}

function entryOf(stored: StoredRecord): CatalogEntry | UnreadableRecordError {
  try {
    return readRecord(stored);
  } catch (error) {
    if (error instanceof UnreadableRecordError) return error;
    throw error;
  }
}

/** Reads the record of a volume; throws UnreadableRecordError for one that this release can't use. */
export function readRecord(stored: StoredRecord): CatalogEntry {
  const name = nameInKey(stored.key);
  const what = `the record of volume ${shownKey(name)}`;
  const record = readStored(stored, recordSchema, { what, version: 2 });
  // Its name becomes a part of paths, and its key is what others look it up by.
  if (record.name === name) return { record, revision: stored.revision };
  const cause = new Error(`it has the name ${record.name}, which is not that of its key`);
  throw new UnreadableRecordError(stored.key, what, { cause, isNewer: false });
}

/**
 * The key of a volume's mount mark, which each Mount writes when it asks for the lock. While the
 * mark has the value that one Mount wrote, nobody else has asked for the volume since, so nobody
 * else can have written to it. Its stored name is older than the word.
 */
export function mountMarkKey(volume: string): string {
  return `tenures/${volume}`; // tidy-ok: stored name
}

const mountMarkPrefix = mountMarkKey('');

/** True for the key of a mount mark. */
export function isMountMarkKey(key: string): boolean {
  return key.startsWith(mountMarkPrefix);
}

/** Returns the volume of a mount mark's key. */
export function volumeOfMark(key: string): string {
  return key.slice(mountMarkPrefix.length);
}

/** Returns the key of the note of a volume's last use (last-uses.ts). */
export function lastUseKey(volume: string): string {
  return `uses/${volume}`;
}

/** Returns the key of a volume's record. */
export function recordKey(name: string): string {
  return keyPrefix + name;
}

/** True for the key of a volume's record, false for its mount mark. */
export function isRecordKey(key: string): boolean {
  return key.startsWith(keyPrefix);
}

/** Returns the volume of a record's key. */
export function nameInKey(key: string): string {
  return key.slice(keyPrefix.length);
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
    { key: lastUseKey(name), value: undefined },
  ];
}
