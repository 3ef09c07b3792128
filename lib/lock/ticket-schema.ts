import { z } from 'zod';
import type { StoreChange } from './stores/ticket-store.ts';
import type { Gate, LockRequest, PlainLockRequest, Ticket, TicketRequest } from './ticket.ts';
import { unknownMachine } from './ticket.ts';

/** The fields of one requested lock but its name. */
export const lockFields = {
  mode: z.enum(['exclusive', 'shared']),
  permits: z.int().positive().optional(),
};

/**
 * A lock of a stored ticket. A permit is stored as an exclusive lock with the number of permits: a release that knows
 * no permits then waits for it, and is waited for, as for an exclusive lock.
 */
export type StoredLock = PlainLockRequest & { readonly permits?: number | undefined };

export function toStoredLocks(locks: readonly LockRequest[]): readonly StoredLock[] {
  return locks.map((lock) => (lock.mode === 'permit' ? { ...lock, mode: 'exclusive' } : lock));
}

export function toLock({ name, mode, permits }: StoredLock): LockRequest {
  return permits === undefined ? { name, mode } : { name, mode: 'permit', permits };
}

/** Returns a ticket in the form in which its text is stored. */
export function toStoredTicket<T extends { readonly locks: readonly LockRequest[] }>(ticket: T) {
  return { ...ticket, locks: toStoredLocks(ticket.locks) };
}

export function toStoredChange(change: StoreChange) {
  return { ...change, tickets: change.tickets.map(toStoredTicket) };
}

const requestFields = {
  session: z.string(),
  nonce: z.string(),
  locks: z.array(z.object({ name: z.string(), ...lockFields }).transform(toLock)),
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

/** The schema of a ticket in a store's file or table. */
export const ticketSchema: z.ZodType<Ticket> = z
  .object({ ...requestFields, id: z.string(), token: z.number() })
  .transform((stored) => withTypedFacts<Ticket>(stored));

/** A stored ticket. Earlier releases stored neither kind nor owner. */
export type StoredTicket<T extends TicketRequest | Ticket = Ticket> = Omit<T, 'kind' | 'owner'> & {
  readonly kind?: string | undefined;
  readonly owner?: string | undefined;
};

/**
 * Adds kind and owner to a ticket of an earlier release, derived from its holder. The kind is the
 * reason with a small first letter (`Mount`: `mount`); the owner is the host's name on an unknown
 * machine (`n1`: `?.n1`, see `isSameOwner`).
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

/** Parses the stored text of a ticket; throws if it is no ticket. */
export function parseTicketRequest(text: string): TicketRequest {
  return requestSchema.parse(JSON.parse(text));
}

/** The schema of a closed gate in a store's file or table. */
export const gateSchema = z
  .object({
    lockName: z.string(),
    host: z.string(),
    since: z.string(),
    why: z.string().optional(),
  })
  .transform(({ why, ...gate }): Gate => (why === undefined ? gate : { ...gate, why }));

/** Parses the stored text of a closed gate; throws if it is no gate. */
export function parseGate(text: string): Gate {
  return gateSchema.parse(JSON.parse(text));
}

type StoredInChange = Omit<StoredTicket, 'locks'> & { readonly locks: readonly StoredLock[] };

/**
 * Parses a change from a store's own log of changes. Only berth writes that log, so nothing is
 * checked; tickets of an earlier release get their kind and owner.
 */
export function parseChange(text: string): StoreChange {
  const change = JSON.parse(text) as Omit<StoreChange, 'tickets'> & {
    readonly tickets: readonly StoredInChange[];
  };
  const tickets = change.tickets.map((ticket) =>
    withTypedFacts<Ticket>({ ...ticket, locks: ticket.locks.map(toLock) }),
  );
  return { ...change, tickets };
}
