import type { Gate, Ticket } from '../../lib/lock/ticket.ts';
import { disabledVolumes } from '../../lib/lock/use/disabled-volume.ts';
import { lockQueueOf } from '../../lib/lock/use/queue.ts';
import { parseLockName } from '../../lib/lock/use/use.ts';
import type { VolumeView } from '../../lib/volumes/service.ts';
import type { GateReply, HolderReply, TicketReply } from './api/locks.ts';
import type { VolumeReply } from './api/volumes.ts';

export function holderReply({ token, holder }: Ticket): HolderReply {
  const { host, reason, since, detail } = holder;
  return { token, host, reason, since, ...(detail !== undefined && { detail }) };
}

/** Returns all tickets in token order, held or waiting. `tickets` must be complete. */
export function ticketReplies(tickets: readonly Ticket[]): TicketReply[] {
  const waiting = new Set(lockQueueOf(tickets).waiting);
  return tickets.map((ticket) => ({
    ...holderReply(ticket),
    state: waiting.has(ticket) ? 'waiting' : 'held',
    uses: ticket.locks.flatMap(({ name, mode }) => {
      const use = parseLockName(name);
      return use ? [{ ...use, mode }] : [];
    }),
  }));
}

/** Returns one entry for each disabled volume. */
export function gateReplies(gates: readonly Gate[]): GateReply[] {
  return disabledVolumes(gates).map(({ volume, facets, gate: { host, since, why } }) => ({
    volume,
    facets,
    host,
    since,
    ...(why !== undefined && { why }),
  }));
}

export function volumeReply(view: VolumeView): VolumeReply {
  const { record, fencing, mountTickets, gates, mounted, lastUse, isLost } = view;
  const { name, driver, access, failover, onLost, protect = false, options } = record;
  const { createdAt, createdBy, from, copyKind, snapshots } = record;
  const { holders, waiting } = lockQueueOf(mountTickets);
  const [gate] = gateReplies(gates);
  return {
    name,
    driver,
    access,
    failover,
    onLost,
    protect,
    fencing,
    options,
    createdAt,
    createdBy,
    ...(from !== undefined && { from }),
    ...(copyKind !== undefined && { copyKind }),
    lastUse: { is: lastUse.is, ...(lastUse.is === 'ended' && { at: lastUse.at }) },
    snapshots,
    holders: holders.map(holderReply),
    waiting: waiting.map(holderReply),
    ...(gate && { gate }),
    ...(mounted && { mounted }),
    ...(isLost && { lost: true }),
  };
}
