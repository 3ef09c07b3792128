import { z } from 'zod';
import type { RecordWrite, StoredRecord } from '../../lock/stores/ticket-store.ts';
import { plainText, readStored } from '../stored-text.ts';

/*
 * `restored/HISTORY` says that a host has put back the records of a history that the store has lost, or that a
 * person goes on without them:
 *
 *     (none) ──► begun: a host writes what it remembers ──► done: what it did not write is not put back
 *
 * `seen` is the revision of the last record that this host had seen in that history. All hosts see the same
 * records, so a record that is not younger than that was known to this host, too: if it is missing when the
 * state is `done`, it has been removed on purpose. A host that knew more writes a larger `seen`.
 */

const schema = z.looseObject({
  version: z.literal(1),
  state: z.enum(['begun', 'done']),
  seen: z.int(),
  /** The name of the host, and the time by its clock (RFC 3339). */
  by: plainText,
  at: plainText,
  /** Makes each written value unique. */
  nonce: plainText,
});

export interface RestoredRecords extends z.infer<typeof schema> {
  /** The ID of the history; empty: not known. */
  readonly history: string;
}

const keyPrefix = 'restored/';
const unknownHistory = 'unknown';

export function isRestoredKey(key: string): boolean {
  return key.startsWith(keyPrefix);
}

export function restoredKey(history: string): string {
  return keyPrefix + (history || unknownHistory);
}

/** Reads the record; throws UnreadableRecordError for one that this release can't use. */
export function readRestored(stored: StoredRecord): RestoredRecords {
  const what = 'the record of what was put back into the store';
  const name = stored.key.slice(keyPrefix.length);
  return {
    ...readStored(stored, schema, { what }),
    history: name === unknownHistory ? '' : name,
  };
}

/** Returns the write that replaces the record of `revision` (0: there must be none). */
export function restoredWrite(
  history: string,
  record: Omit<z.infer<typeof schema>, 'version'>,
  revision: number,
): RecordWrite {
  const value = JSON.stringify({ version: 1, ...record });
  return { key: restoredKey(history), value, expectedRevision: revision };
}
