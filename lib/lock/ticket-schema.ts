import { z } from 'zod';
import type { StoreChange } from './stores/ticket-store.ts';
import type { Gate, Ticket, TicketRequest } from './ticket.ts';
import { unknownMachine } from './ticket.ts';

const requestFields = {
  session: z.string(),
  nonce: z.string(),
  locks: z.array(z.object({ name: z.string(), mode: z.enum(['exclusive', 'shared']) })),
  kind: z.string().optional(),
  owner: z.string().optional(),
  holder: z
    .object({
      host: z.string(),
      reason: z.string(),
      since: z.string(),
      detail: z.string().optional(),
    })
    .transform(({ detail, ...holder }) => (detail === undefined ? holder : { ...holder, detail })),
};

const requestSchema: z.ZodType<TicketRequest> = z
  .object(requestFields)
  .transform((stored) => withTypedFacts<TicketRequest>(stored));

/** A ticket as it is kept in a file. */
export const ticketSchema: z.ZodType<Ticket> = z
  .object({ ...requestFields, id: z.string(), token: z.number() })
  .transform((stored) => withTypedFacts<Ticket>(stored));

/** A ticket as a store keeps it: releases that knew no kinds and owners stored neither. */
export type StoredTicket<T extends TicketRequest | Ticket = Ticket> = Omit<T, 'kind' | 'owner'> & {
  readonly kind?: string | undefined;
  readonly owner?: string | undefined;
};

/**
 * Fills in the kind and the owner of a ticket from a release that stored neither, from what it says
 * for people. The kind is the reason with a small first letter (`Mount`: `mount`), the owner is the
 * host's name on an unknown machine (`n1`: `?.n1`, see `isSameOwner`).
 */
export function withTypedFacts<T extends TicketRequest | Ticket>(
  stored: StoredTicket<T>,
): Omit<T, 'kind' | 'owner'> & { kind: string; owner: string } {
  const { host, reason } = stored.holder;
  return {
    ...stored,
    kind: stored.kind ?? reason.charAt(0).toLowerCase() + reason.slice(1),
    owner: stored.owner ?? unknownMachine + host,
  };
}

/** Reads what a store keeps of a ticket; throws on anything that is not that. */
export function parseTicketRequest(text: string): TicketRequest {
  return requestSchema.parse(JSON.parse(text));
}

/** A closed gate as it is kept in a file. */
export const gateSchema = z
  .object({
    lockName: z.string(),
    host: z.string(),
    since: z.string(),
    why: z.string().optional(),
  })
  .transform(({ why, ...gate }): Gate => (why === undefined ? gate : { ...gate, why }));

/** Reads what a store keeps of a closed gate; throws on anything that is not that. */
export function parseGate(text: string): Gate {
  return gateSchema.parse(JSON.parse(text));
}

/**
 * Reads a change that this program has written in a store for its watchers; checks no more than its
 * tickets need that an earlier release has written.
 */
export function parseChange(text: string): StoreChange {
  const change = JSON.parse(text) as StoreChange;
  return { ...change, tickets: change.tickets.map((ticket) => withTypedFacts<Ticket>(ticket)) };
}
