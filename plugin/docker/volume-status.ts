import type { Gate, Ticket } from '../../lib/lock/ticket.ts';
import { lockQueueOf } from '../../lib/lock/use/queue.ts';
import type { VolumeView } from '../../lib/volumes/service.ts';
import { humanSize } from '../http/human-size.ts';
import type { GetResponse } from './wire.ts';

/** Returns a volume as `docker volume inspect` shows it. */
export function volumeDetails({
  record,
  fencing,
  mountTickets,
  gates: [gate],
  lastUse,
  mounted,
  isLost,
}: VolumeView): GetResponse['Volume'] {
  const createdAt = rfc3339(record.createdAt);
  const { holders, waiting } = lockQueueOf(mountTickets);
  const [holder, ...others] = holders.map(holderStatus);
  const size = Number(record.options.size ?? Number.NaN);
  return {
    Name: record.name,
    ...(mounted && { Mountpoint: mounted.mountpoint }),
    ...(createdAt !== undefined && { CreatedAt: createdAt }),
    Status: {
      driver: record.driver,
      ...(isLost && { record: 'lost by the store; see berth doctor' }),
      access: record.access,
      failover: record.failover,
      onLost: record.onLost,
      ...(record.protect && { protect: 'yes' }),
      fencing: `${fencing.level} (${fencing.means})`,
      ...(Number.isFinite(size) && { size: humanSize(size) }),
      options: record.options,
      ...(record.from !== undefined && { from: record.from }),
      ...(record.copyKind === 'live' && { copyKind: 'live' }),
      ...(lastUse.is !== 'unknown' && {
        lastUsed: lastUse.is === 'ended' ? lastUse.at : lastUse.is,
      }),
      ...(holder && { holder }),
      ...(others.length > 0 && { otherHolders: others }),
      ...(waiting.length > 0 && { waiting: waiting.length }),
      ...(gate && { disabled: gateStatus(gate) }),
      ...(mounted && { mounts: { mountpoint: mounted.mountpoint, ids: mounted.mountIds } }),
      snapshots: record.snapshots,
    },
  };
}

function holderStatus({ holder: { host, reason, since, detail }, token }: Ticket) {
  return { host, reason, since, token, ...(detail !== undefined && { detail }) };
}

function gateStatus({ host, since, why }: Gate) {
  return { host, since, ...(why !== undefined && { why }) };
}

/** Returns undefined for a text that is no time: the engine would purge the volume. */
function rfc3339(text: string): string | undefined {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}
