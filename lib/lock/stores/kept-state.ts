import { z } from 'zod';
import { gateSchema, ticketSchema, toStoredChange, toStoredTicket } from '../ticket-schema.ts';
import type { ModelState } from './ticket-model.ts';
import type { StoreChange } from './ticket-store.ts';

/** The number of changes kept by default; a watcher that is further behind gets a `reset`. */
export const changesKept = 128;

/** A state that is stored as one text. Never changed, only replaced. */
export interface KeptState extends ModelState {
  /** The last changes, for watchers of other clients; each is one revision. */
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

/** Returns the state after `changes`, of which the last `most` are kept. */
export function nextState(
  before: KeptState,
  after: ModelState,
  changes: readonly StoreChange[],
  most = changesKept,
): KeptState {
  return {
    ...after,
    changes: [...before.changes, ...changes].slice(-most),
  };
}

/** Returns the changes after a revision; undefined if some of them are no longer kept. */
export function changesAfter(
  { changes, revision: last }: KeptState,
  revision: number,
): readonly StoreChange[] | undefined {
  if (revision === last) return [];
  const later = changes.filter((change) => change.revision > revision);
  return later[0]?.revision === revision + 1 ? later : undefined;
}

/** Returns a state in the form in which its text is stored. */
export function storedForm<T extends KeptState>(state: T) {
  const { tickets, changes } = state;
  return { ...state, tickets: tickets.map(toStoredTicket), changes: changes.map(toStoredChange) };
}

const recordSchema = z.object({ key: z.string(), value: z.string(), revision: z.number() });

/** The schema of a kept state's fields, without those that each store has in its own form. */
export const keptFields = {
  revision: z.number(),
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
};
