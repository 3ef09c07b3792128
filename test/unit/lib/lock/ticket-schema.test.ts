// Tickets as stores keep them, with those of earlier releases.

import { expect, test } from '@jest/globals';
import { isSameOwner } from '../../../../lib/lock/ticket.ts';
import { parseTicketRequest, ticketSchema } from '../../../../lib/lock/ticket-schema.ts';

const stored = {
  session: 's',
  nonce: 'n',
  locks: [{ name: 'mount/db', mode: 'exclusive' }],
  holder: { host: 'n1', reason: 'SnapshotPrune', since: '2026-01-02T03:04:05Z' },
};

test('keeps the kind and the owner of a ticket', () => {
  const ticket = { ...stored, kind: 'mount', owner: 'machine.n1' };
  expect(parseTicketRequest(JSON.stringify(ticket))).toEqual(ticket);
  const withToken = { ...ticket, id: '7', token: 7 };
  expect(ticketSchema.parse(withToken)).toEqual(withToken);
});

test('reads a ticket of the release before, which stored neither a kind nor an owner', () => {
  const facts = { kind: 'snapshotPrune', owner: '?.n1' };
  expect(parseTicketRequest(JSON.stringify(stored))).toEqual({ ...stored, ...facts });
  expect(ticketSchema.parse({ ...stored, id: '7', token: 7 })).toMatchObject(facts);
});

test.each([
  ['a.n1', 'a.n1', true],
  ['a.n1', 'b.n1', false],
  ['a.n1', 'a.n2', false],
  ['?.n1', 'a.n1', true],
  ['a.n1', '?.n1', true],
  ['?.n1', '?.n1', true],
  ['?.n1', 'n1', true],
  ['?.n1', 'a.n2', false],
  ['?.x.n1', 'a.n1', false],
])('an owner whose machine is unknown counts as every host of its name: %s, %s', (a, b, isSame) => {
  expect(isSameOwner(a, b)).toBe(isSame);
});
