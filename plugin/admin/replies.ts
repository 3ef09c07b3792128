import type { Ticket } from '../../lib/lock/ticket.ts';
import { parseLockName } from '../../lib/lock/use.ts';
import { queueOf } from '../../lib/volumes/queue.ts';
import type { VolumeView } from '../../lib/volumes/service.ts';
import type { HolderReply, TicketReply, VolumeReply } from '../admin-api.ts';

export function holderReply({ token, holder }: Ticket): HolderReply {
  const { host, reason, since, detail } = holder;
  return { token, host, reason, since, ...(detail !== undefined && { detail }) };
}

/** In token order, told apart by who holds. `tickets` are all there are. */
export function ticketReplies(tickets: readonly Ticket[]): TicketReply[] {
  const waiting = new Set(queueOf(tickets).waiting);
  return tickets.map((ticket) => ({
    ...holderReply(ticket),
    state: waiting.has(ticket) ? 'waiting' : 'held',
    uses: ticket.locks.flatMap(({ name, mode }) => {
      const use = parseLockName(name);
      return use ? [{ ...use, mode }] : [];
    }),
  }));
}

export function volumeReply({ record, mountTickets, mounted }: VolumeView): VolumeReply {
  const { name, driver, access, options, createdAt, createdBy, from, snapshots } = record;
  const { holders, waiting } = queueOf(mountTickets);
  return {
    name,
    driver,
    access,
    options,
    createdAt,
    createdBy,
    ...(from !== undefined && { from }),
    snapshots,
    holders: holders.map(holderReply),
    waiting: waiting.map(holderReply),
    ...(mounted && { mounted }),
  };
}
