import { z } from 'zod';
import { StoreUnavailableError } from '../../errors.ts';
import { gateSchema, ticketSchema } from '../../ticket-schema.ts';
import type { ModelState } from '../ticket-model.ts';
import type { StoreChange } from '../ticket-store.ts';

const currentFormat = 1;

/** The number of changes kept; a watcher that is further behind gets a `reset`. */
const changesKept = 128;

/** The content of the state file. Never changed, only replaced. */
export interface KeptState extends ModelState {
  /** The last changes, for watchers in other processes; each is one revision. */
  readonly changes: readonly StoreChange[];
}

export const emptyState: KeptState = {
  revision: 0,
  sessions: [],
  tickets: [],
  records: [],
  gates: [],
  changes: [],
};

/** Returns the state after `changes`. */
export function nextState(
  before: KeptState,
  after: ModelState,
  changes: readonly StoreChange[],
): KeptState {
  return { ...after, changes: [...before.changes, ...changes].slice(-changesKept) };
}

export function stateText(state: KeptState): string {
  return `${JSON.stringify({ format: currentFormat, ...state })}\n`;
}

/** Parses the state. Throws a plain error for a newer format, else `StoreUnavailableError`. */
export function parseState(text: string, path: string): KeptState {
  try {
    const kept: unknown = JSON.parse(text);
    const { format } = z.object({ format: z.number() }).parse(kept);
    if (format > currentFormat) throw new NewerFormatError(path, format);
    return stateSchema.parse(kept);
  } catch (cause) {
    if (cause instanceof NewerFormatError) throw cause;
    throw new StoreUnavailableError(
      `the lock file ${path} is damaged; restore it, or delete it while nothing is mounted`,
      { cause },
    );
  }
}

class NewerFormatError extends Error {
  override readonly name = 'NewerFormatError';
  constructor(path: string, format: number) {
    super(
      `the lock file ${path} has format ${format}, which a newer version of berth wrote; this one knows format ${currentFormat}`,
    );
  }
}

const recordSchema = z.object({ key: z.string(), value: z.string(), revision: z.number() });

const stateSchema = z.object({
  revision: z.number(),
  // Session ids are file names too.
  sessions: z.array(z.uuid()),
  tickets: z.array(ticketSchema),
  records: z.array(recordSchema),
  gates: z.array(gateSchema),
  changes: z.array(
    z.object({
      revision: z.number(),
      tickets: z.array(ticketSchema),
      removedTickets: z.array(z.object({ id: z.string(), nonce: z.string() })),
      records: z.array(recordSchema),
      removedRecords: z.array(z.string()),
      closedGates: z.array(gateSchema),
      openedGates: z.array(z.string()),
    }),
  ),
});
