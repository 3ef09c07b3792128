import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { RecordConflictError } from '../../lock/errors.ts';
import type { RecordWrite, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import { poolKey } from '../records/pool-key.ts';
import { plainText, readStored } from '../stored-text.ts';

/*
 * The record of a driver's pool in the store. Only the host that writes it first may mark a pool by
 * itself, so that two hosts with different directories never mark two pools for one driver.
 *
 *     (none) ──► marking: the host writes the mark ──► marked: for ever
 */

const recordSchema = z.looseObject({
  version: z.literal(1),
  state: z.enum(['marking', 'marked']),
  /** The identity and the name of the host that marked the pool. */
  owner: plainText,
  host: plainText,
  /** RFC 3339. */
  since: plainText,
});

export type PoolRecord = z.infer<typeof recordSchema>;

/** Reads a record; undefined: there is none. Throws UnreadableRecordError if this release can't use it. */
export function parsePoolRecord(stored: StoredRecord | undefined): PoolRecord | undefined {
  if (!stored) return undefined;
  return readStored(stored, recordSchema, { what: "the record of a driver's pool" });
}

/**
 * Writes a record over the record of `revision` (0: there must be none). Returns the write with its
 * revision, or undefined if another host has changed the record since.
 */
export async function writePoolRecord(
  store: Pick<TicketStore, 'commit'>,
  driver: string,
  record: PoolRecord,
  revision: number,
): Promise<{ readonly write: RecordWrite; readonly revision: number } | undefined> {
  // The store takes a value for one write: the nonce makes it unique.
  const value = JSON.stringify({ ...record, nonce: randomUUID() });
  const write = { key: poolKey(driver), value, expectedRevision: revision };
  try {
    const committed = await store.commit({ guards: [], writes: [write], release: [] });
    return { write, revision: committed.revision };
  } catch (error) {
    if (error instanceof RecordConflictError) return undefined;
    throw error;
  }
}
