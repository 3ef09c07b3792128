import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { RecordConflictError } from '../../lock/errors.ts';
import type { TicketStore } from '../../lock/stores/ticket-store.ts';
import { UnavailableError } from '../errors.ts';
import type { StoredText } from '../stored-text.ts';
import { readStored } from '../stored-text.ts';

/** The key of the record that says which cluster the store belongs to. */
export const clusterKey = 'cluster';

/** Fields of later releases are allowed: only another `version` changes what `id` means. */
const clusterSchema = z.looseObject({ version: z.literal(1), id: z.uuid() });

export interface ClusterOptions {
  readonly mirror: Pick<StoreMirror, 'record' | 'wrote'>;
  readonly store: Pick<TicketStore, 'record' | 'commit'>;
  /** Says why the record must not be written now; undefined, or absent: it may be. */
  readonly trouble?: () => string | undefined;
}

/**
 * The identity of the cluster: all hosts that use one store with one prefix, or the one host of an
 * embedded store. The ID is made by the first host that asks for it, and never changes.
 */
export class Cluster {
  readonly #options: ClusterOptions;
  #id: string | undefined;

  constructor(options: ClusterOptions) {
    this.#options = options;
  }

  /**
   * Returns the cluster's ID, and writes it first if the store has none: one of several hosts that do
   * so at the same time succeeds, and all return its ID. A crash leaves the whole record or none.
   * Rejects with the store's error while the store can't be asked, and with UnavailableError if
   * another release has written a record that this one can't read, or if the store has lost it.
   */
  async id(): Promise<string> {
    const known = this.#known();
    const trouble = known === undefined ? this.#options.trouble?.() : undefined;
    if (trouble !== undefined) throw new UnavailableError(trouble);
    this.#id = known ?? this.#id ?? (await this.#write(randomUUID()));
    return this.#id;
  }

  /** Writes a record with the ID if the store has none, also if it had one before. */
  async begin(id: string = randomUUID()): Promise<void> {
    this.#id = this.#known() ?? (await this.#write(id));
  }

  /** Reads the ID from the mirror, without asking the store. */
  #known(): string | undefined {
    const stored = this.#options.mirror.record(clusterKey);
    return stored && readClusterRecord(stored).id;
  }

  async #write(id: string): Promise<string> {
    const { mirror, store } = this.#options;
    const value = JSON.stringify({ version: 1, id });
    const write = { key: clusterKey, value, expectedRevision: 0 };
    try {
      const { revision } = await store.commit({ guards: [], writes: [write], release: [] });
      mirror.wrote(revision, [write]);
      return readClusterRecord(write).id;
    } catch (error) {
      if (!(error instanceof RecordConflictError)) throw error;
      const stored = await store.record(clusterKey);
      if (!stored) throw error;
      return readClusterRecord(stored).id;
    }
  }
}

/** Reads the record of the cluster. Throws UnreadableRecordError if this release can't use it. */
export function readClusterRecord(stored: StoredText): { readonly id: string } {
  return readStored(stored, clusterSchema, { what: 'the record of the cluster' });
}
