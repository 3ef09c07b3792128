import { ticketSchema } from '../../lib/lock/ticket-schema.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';

/**
 * Returns the row of a volume that is mounted on this host with one use; `change` replaces fields.
 */
export function mountRow(volume: string, change: Partial<MountRow> = {}): MountRow {
  return {
    volume,
    driver: 'directory',
    options: {},
    access: 'host',
    failover: 'auto',
    onLost: 'pause',
    mountpoint: `/mounts/${volume}`,
    ticket: ticketSchema.parse({
      id: `id-${volume}`,
      token: 7,
      nonce: `nonce-${volume}`,
      session: 'session',
      locks: [{ name: `mount/${volume}`, mode: 'exclusive' }],
      holder: { host: 'n1', reason: 'Mount', since: '2026-01-02T03:04:05Z' },
    }),
    bootId: 'boot',
    mountIds: new Map([['id1', { count: 1, confirmed: true }]]),
    ...change,
  };
}
