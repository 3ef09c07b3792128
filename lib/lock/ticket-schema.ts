import { z } from 'zod';
import type { Gate, Ticket, TicketRequest } from './ticket.ts';

const requestSchema = z.object({
  session: z.string(),
  nonce: z.string(),
  locks: z.array(z.object({ name: z.string(), mode: z.enum(['exclusive', 'shared']) })),
  holder: z
    .object({
      host: z.string(),
      reason: z.string(),
      since: z.string(),
      detail: z.string().optional(),
    })
    .transform(({ detail, ...holder }) => (detail === undefined ? holder : { ...holder, detail })),
});

/** A ticket as it is kept in a file. */
export const ticketSchema: z.ZodType<Ticket> = requestSchema.extend({
  id: z.string(),
  token: z.number(),
});

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
