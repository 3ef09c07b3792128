// When a Mount of a volume would be granted at once, by the mirror of the store.
import { describe, expect, test } from '@jest/globals';
import type { Ticket } from '../../../../../lib/lock/ticket.ts';
import { ticketSchema } from '../../../../../lib/lock/ticket-schema.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { isFreeHere } from '../../../../../lib/volumes/operations/free-volumes.ts';
import type { Access, VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import { mountRow } from '../../../../support/mount-row.ts';

function ticket(owner: string, mode = 'exclusive'): Ticket {
  const holder = { host: owner, reason: 'Mount', since: '2026-01-02T03:04:05Z' };
  return ticketSchema.parse({
    ...{ id: owner, token: 7, nonce: owner, session: 's', kind: 'mount', owner, holder },
    locks: [{ name: 'mount/db', mode }],
  });
}

const foundMount = { volume: 'db', mountpoint: '/mnt/db', isMounted: true };

interface Given {
  readonly tickets?: readonly Ticket[];
  readonly isLive?: boolean;
  readonly isDisabled?: boolean;
  readonly access?: Access | 'unreadable';
  /** The state of the lock of a mount on this host. */
  readonly mounted?: 'held' | 'unproven' | 'lost';
  /** The volume is mounted here, but not in the mount table. */
  readonly isFound?: boolean;
}

function isFree({ tickets = [], isLive = true, access = 'host', ...given }: Given): boolean {
  const gate = { lockName: 'mount/db', host: 'n1', since: '2026-01-02T03:04:05Z' };
  const record: VolumeRecord = {
    ...{ version: 1, name: 'db', driver: 'directory', options: {}, failover: 'auto' },
    ...{ access: access === 'unreadable' ? 'host' : access, onLost: 'pause', snapshots: [] },
    ...{ createdAt: '2026-01-02T03:04:05Z', createdBy: 'n1', token: 1 },
  };
  return isFreeHere('db', {
    mirror: { isLive, ticketsOn: () => [...tickets] },
    locks: { gates: () => (given.isDisabled ? [gate] : []) },
    catalog: {
      get: () => {
        if (access === 'unreadable') throw new UnavailableError('not a record');
        return record;
      },
    },
    mounts: {
      get: () => (given.mounted ? mountRow('db', { access: record.access }) : undefined),
      lockState: () => given.mounted ?? 'lost',
    },
    states: {
      get: () => (given.isFound ? { is: 'found', found: foundMount } : undefined),
    },
    owner: 'me.n1',
  });
}

describe('a volume is free for this host', () => {
  test.each<[what: string, given: Given]>([
    ['without tickets', {}],
    ['if only this host has tickets', { tickets: [ticket('me.n1')] }],
    ['if it is mounted here and held', { tickets: [ticket('me.n1')], mounted: 'held' }],
    [
      'if others share it as this host would',
      { tickets: [ticket('x.n2', 'shared')], access: 'shared' },
    ],
    ['if its record can not be read: the Mount will say so', { access: 'unreadable' }],
  ])('%s', (_what, given) => {
    expect(isFree(given)).toBe(true);
  });

  test.each<[what: string, given: Given]>([
    ['while another host holds it or waits for it', { tickets: [ticket('x.n2')] }],
    [
      'while another host works on what this host would share',
      { tickets: [ticket('x.n2')], access: 'shared' },
    ],
    ['while the mirror may be out of date', { isLive: false }],
    ['while it is disabled', { isDisabled: true }],
    ['while its mount here is not proved', { mounted: 'unproven' }],
    ['while its lost mount here is not undone', { mounted: 'lost' }],
    ['while its mount here is not in the mount table', { isFound: true }],
    ['while a container here has it for itself', { mounted: 'held', access: 'container' }],
  ])('not %s', (_what, given) => {
    expect(isFree(given)).toBe(false);
  });
});
