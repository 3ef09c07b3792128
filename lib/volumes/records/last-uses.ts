import { z } from 'zod';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { RecordNote, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import type { LastUse } from '../last-use.ts';
import { plainText, readStored, shownKey, UnreadableRecordError } from '../stored-text.ts';
import type { VolumeRecord } from '../volume.ts';
import { lastUseKey, mountMarkKey } from './catalog.ts';

/*
 * When a volume was used last. The step of the store that releases the lock of a mount writes it, so it costs
 * no step of its own:
 *
 *     Mount     writes the mount mark          (catalog.ts)
 *     Unmount   writes uses/NAME               its revision is larger than that of the mark
 *
 * A mark that is younger than the note is one of a Mount whose end nobody has noted: its host died, or runs an
 * earlier release. Then it is not known when the volume was used last.
 */

const noteSchema = z.object({
  version: z.literal(1),
  /** The end of the last mount (RFC 3339), by the host's clock. */
  at: plainText.refine((text) => !Number.isNaN(Date.parse(text)), 'is no time'),
  host: plainText,
});

/** True for the key of the note of a last use. */
export function isLastUseKey(key: string): boolean {
  return key.startsWith(lastUseKey(''));
}

/** Returns the note that a use of a volume ends now. */
export function lastUseNote(volume: string, host: string, now: Date): RecordNote {
  const value = { version: 1, at: now.toISOString(), host } as const;
  return { key: lastUseKey(volume), value: JSON.stringify(value) };
}

/** Reads a note; throws UnreadableRecordError for one that this release can't use. */
export function readLastUse(stored: StoredRecord): { readonly at: string } {
  const what = `the note of the last use of volume ${shownKey(stored.key.slice(lastUseKey('').length))}`;
  return readStored(stored, noteSchema, { what });
}

/** Decides when a volume was used last, by its note and its mount mark. Pure. */
export function lastUseOf(
  { access, createdAt }: Pick<VolumeRecord, 'access' | 'createdAt'>,
  note: StoredRecord | undefined,
  mark: StoredRecord | undefined,
): LastUse {
  // A Mount of a shared volume leaves no mark, so that of an earlier release leaves nothing.
  if (!note) return mark || access === 'shared' ? unknown : { is: 'never', since: createdAt };
  if (mark && mark.revision > note.revision) return unknown;
  try {
    return { is: 'ended', at: readLastUse(note).at };
  } catch (error) {
    if (error instanceof UnreadableRecordError) return unknown; // The doctor and the status name it.
    throw error;
  }
}

const unknown: LastUse = { is: 'unknown' };

/** Tells when volumes were used last. */
export class LastUses {
  readonly #mirror: Pick<StoreMirror, 'record'>;
  readonly #store: Pick<TicketStore, 'record'>;

  constructor(mirror: Pick<StoreMirror, 'record'>, store: Pick<TicketStore, 'record'>) {
    this.#mirror = mirror;
    this.#store = store;
  }

  /** Tells it from the mirror. */
  of(record: VolumeRecord): LastUse {
    const [note, mark] = keysOf(record).map((key) => this.#mirror.record(key));
    return lastUseOf(record, note, mark);
  }

  /** Tells it from the store (linearizable). For use under the volume's lock. */
  async read(record: VolumeRecord): Promise<LastUse> {
    const [note, mark] = await Promise.all(keysOf(record).map((key) => this.#store.record(key)));
    return lastUseOf(record, note, mark);
  }
}

function keysOf({ name }: VolumeRecord): string[] {
  return [lastUseKey(name), mountMarkKey(name)];
}
