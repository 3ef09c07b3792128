import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { RecordWrite, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import { plainText, readStored, shownKey, UnreadableRecordError } from '../stored-text.ts';
import type { TrashEntry } from '../trash-entry.ts';
import { formatEntry, parseEntry } from '../trash-entry.ts';
import type { VolumeRecord } from '../volume.ts';
import { recordSchema } from '../volume.ts';

/** A claim that stood when its volume was removed: its host may still write to the storage. */
const claimSchema = z.object({
  mark: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
  value: z.string(),
});

const removedSchema = z.object({
  version: z.literal(1),
  /** The record of the volume, as it was. */
  record: recordSchema,
  /** The identity of its storage (`DriverTrash`). */
  identity: plainText,
  /** RFC 3339. */
  removedAt: plainText,
  /** The host that removed it. */
  removedBy: plainText,
  /** The end of its term (RFC 3339). */
  keptUntil: plainText,
  claims: z.array(claimSchema),
  /** The token of the Remove; makes each written value unique. */
  token: z.int(),
});

export type KeptClaim = z.infer<typeof claimSchema>;
export type RemovedRecord = z.infer<typeof removedSchema>;

/** A removed volume whose storage is kept in its driver's trash. */
export interface RemovedVolume extends TrashEntry, Omit<RemovedRecord, 'version' | 'token'> {
  readonly driver: string;
  /** The store's revision of the record. */
  readonly revision: number;
}

const keyPrefix = 'trash/';

/**
 * Returns the ID of a volume in the trash. It follows from the volume's record, so that a Remove that is
 * repeated after a crash finds what the first attempt has moved.
 */
export function trashIdOf({ createdAt, createdBy }: VolumeRecord): string {
  return createHash('sha256').update(`${createdAt} ${createdBy}`).digest('hex').slice(0, 10);
}

/** Returns the write that records a removed volume. */
export function removedWrite(id: string, removed: Omit<RemovedRecord, 'version'>): RecordWrite {
  const value = JSON.stringify({ version: 1, ...removed } satisfies RemovedRecord);
  return { key: removedKey({ volume: removed.record.name, id }), value, expectedRevision: 0 };
}

/** Returns the write that forgets a removed volume. */
export function removedDeletion({ volume, id, revision }: RemovedVolume): RecordWrite {
  return { key: removedKey({ volume, id }), value: undefined, expectedRevision: revision };
}

/** Reads the records of the removed volumes. */
export class RemovedVolumes {
  readonly #mirror: Pick<StoreMirror, 'records'>;
  readonly #store: Pick<TicketStore, 'record'>;

  constructor(mirror: Pick<StoreMirror, 'records'>, store: Pick<TicketStore, 'record'>) {
    this.#mirror = mirror;
    this.#store = store;
  }

  /** Lists them from the mirror, the first removed first. Leaves out records that this release can't use. */
  list(): RemovedVolume[] {
    const all = [...this.#mirror.records()].filter(({ key }) => isRemovedKey(key));
    return all
      .flatMap((stored) => readable(stored) ?? [])
      .sort((a, b) => (a.removedAt < b.removedAt ? -1 : 1));
  }

  /** Reads one from the store (linearizable). For use under the lock of the entry. */
  async read(entry: TrashEntry): Promise<RemovedVolume | undefined> {
    const stored = await this.#store.record(removedKey(entry));
    return stored && readRemoved(stored);
  }
}

/** Returns the key of a removed volume's record. */
export function removedKey({ volume, id }: TrashEntry): string {
  return `${keyPrefix}${volume}/${id}`;
}

function readable(stored: StoredRecord): RemovedVolume | undefined {
  try {
    return readRemoved(stored);
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined; // The doctor and the status name it.
    throw error;
  }
}

/** True for the key of a removed volume's record. */
export function isRemovedKey(key: string): boolean {
  return key.startsWith(keyPrefix);
}

/** Reads the record of a removed volume; throws UnreadableRecordError for one that this release can't use. */
export function readRemoved(stored: StoredRecord): RemovedVolume {
  const [, volume = '', id = ''] = stored.key.split('/');
  const what = `the record of ${shownKey(`${volume}@${id}`)} in the trash`;
  const value = readStored(stored, removedSchema, { what });
  const { record, identity, removedAt, removedBy, keptUntil, claims } = value;
  const entry = parseEntry(formatEntry({ volume, id })); // The names become parts of paths.
  if (!entry || removedKey(entry) !== stored.key || record.name !== volume) {
    const cause = new Error('its names are not those of its key');
    throw new UnreadableRecordError(stored.key, what, { cause, isNewer: false });
  }
  const known = { record, identity, removedAt, removedBy, keptUntil, claims };
  return { ...entry, ...known, driver: record.driver, revision: stored.revision };
}
