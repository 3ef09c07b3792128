import { z } from 'zod';
import { StoreUnavailableError } from '../../errors.ts';
import type { KeptState } from '../kept-state.ts';
import { emptyState, keptFields, storedForm } from '../kept-state.ts';

const currentFormat = 1;

/** The state of the store as one text. */
export interface StoredState extends KeptState {
  /** The incarnation of each session: the value of the client that has opened or resumed it last. */
  readonly incarnations: Readonly<Record<string, string>>;
}

/** The most revisions by which one write of the object advances the state. */
export const revisionsPerWrite = 1_024;

/**
 * Returns the state of an object that holds none yet. Its revision, the first token but one, follows
 * from the object's version, which grows by one at least with each write in the cluster, while the
 * revision grows by `revisionsPerWrite` at most: an object that was deleted and made again never gives
 * a token a second time.
 */
export function firstState(resourceVersion: string): StoredState {
  const first = Number(resourceVersion) * revisionsPerWrite;
  const revision = Number.isSafeInteger(first) ? first : Date.now() * revisionsPerWrite;
  return { ...emptyState, revision, incarnations: {} };
}

export function stateText(state: StoredState): string {
  return JSON.stringify({ format: currentFormat, ...storedForm(state) });
}

/** Parses the state. Throws `StoreUnavailableError` for one that this release can't read. */
export function parseState(text: string, path: string): StoredState {
  try {
    const kept: unknown = JSON.parse(text);
    const { format } = z.object({ format: z.number() }).parse(kept);
    if (format <= currentFormat) return stateSchema.parse(kept);
  } catch (cause) {
    const advice = 'restore it, or remove it while nobody holds a lock';
    throw new StoreUnavailableError(`the locks in ${path} are damaged; ${advice}`, { cause });
  }
  throw new StoreUnavailableError(`a newer release has written the locks in ${path}`);
}

const stateSchema = z.object({
  ...keptFields,
  sessions: z.array(z.string()),
  incarnations: z.record(z.string(), z.string()),
});
