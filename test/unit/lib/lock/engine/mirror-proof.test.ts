// Whether the mirror proves the grant of a waiting ticket: a mirror whose watch the test plays.
import { beforeEach, expect, test } from '@jest/globals';
import { isProvedByMirror } from '../../../../../lib/lock/engine/mirror-proof.ts';
import { StoreMirror } from '../../../../../lib/lock/engine/store-mirror.ts';
import { memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type {
  StoreChange,
  StoreWatcher,
  TicketStore,
} from '../../../../../lib/lock/stores/ticket-store.ts';
import { noChange } from '../../../../../lib/lock/stores/ticket-store.ts';
import type { LockRequest, Ticket } from '../../../../../lib/lock/ticket.ts';

const db = { name: 'db', mode: 'exclusive' } as const;
const gate = { lockName: 'db', host: 'n3', since: '2026-11-27T11:10:06Z' };
const history = { id: 'h1', isFirst: true };

let store: TicketStore & { historyId: string };
let mirror: StoreMirror;
let watcher: StoreWatcher;

function ticket(token: number, ...locks: LockRequest[]): Ticket {
  const holder = { host: 'n1', reason: 'Mount', since: gate.since };
  const named = { nonce: `nonce ${token}`, session: 's', owner: 'n1', kind: 'mount', holder };
  return { ...named, id: `s-${token}`, token, locks };
}

function reset(...tickets: Ticket[]): void {
  const revision = Math.max(...tickets.map(({ token }) => token));
  watcher.reset({ revision, tickets, records: [], gates: [], history });
}

function change(revision: number, changed: Partial<StoreChange>): void {
  watcher.change({ ...noChange(revision), ...changed });
}

function isProved(
  own: Ticket,
  {
    proof,
    of = 'h1',
    canBeResumed = false,
  }: { proof?: number; of?: string; canBeResumed?: boolean } = {},
) {
  return isProvedByMirror({ proof, canBeResumed }, own, of, { store, mirror });
}

beforeEach(() => {
  const given: TicketStore = memoryStore();
  const watch = (given: StoreWatcher) => {
    watcher = given;
    return { [Symbol.dispose]: () => undefined };
  };
  store = { ...given, historyId: 'h1', watch };
  mirror = new StoreMirror(store);
});

test('a ticket is not granted of a session that another process may have resumed', () => {
  const first = ticket(1, db);
  reset(first);
  expect(isProved(first)).toBe(true);
  expect(isProved(first, { canBeResumed: true })).toBe(false);
});

test('a ticket is granted when the last one before it that is in its way is gone', () => {
  const [first, second, third] = [ticket(1, db), ticket(2, db), ticket(3, db)];
  reset(first, second, third);
  expect([first, second, third].map((each) => isProved(each))).toEqual([true, false, false]);
  change(4, { removedTickets: [second] });
  expect(isProved(third)).toBe(false);
  change(5, { removedTickets: [first] });
  expect(isProved(third)).toBe(true);
});

test('all locks of a request have to be free, and a permit while as many stand before it', () => {
  const other = { name: 'other', mode: 'shared' } as const;
  const permit = { name: 'pool', mode: 'permit', permits: 2 } as const;
  const [held, both] = [ticket(1, { ...other, mode: 'exclusive' }), ticket(2, db, other)];
  const [one, two, three] = [ticket(3, permit), ticket(4, permit), ticket(5, permit)];
  const reader = ticket(6, other);
  reset(held, both, one, two, three, reader);
  expect([both, one, two, three, reader].map((each) => isProved(each))).toEqual([
    ...[false, true, true, false, false],
  ]);
  change(7, { removedTickets: [held, one] });
  expect([both, three, reader].map((each) => isProved(each))).toEqual([true, true, true]);
});

test('a ticket that the mirror does not have, or has with another token, is not granted', () => {
  const own = ticket(3, db);
  reset(ticket(1, { ...db, name: 'other' }));
  expect(isProved(own)).toBe(false);
  reset({ ...own, token: 2 });
  expect(isProved(own)).toBe(false);
  reset(own);
  expect(isProved(own)).toBe(true);
  change(4, { removedTickets: [own] });
  expect(isProved(own)).toBe(false);
});

test('nobody is granted a lock while its gate is closed', () => {
  const [first, own] = [ticket(1, db), ticket(2, db)];
  reset(first, own);
  change(3, { closedGates: [gate] });
  change(4, { removedTickets: [first] });
  expect(isProved(own)).toBe(false);
  change(5, { openedGates: ['db'] });
  expect(isProved(own)).toBe(true);
});

test('a mirror whose watch is broken proves nothing', () => {
  const own = ticket(1, db);
  expect(isProved(own)).toBe(false);
  reset(own);
  watcher.interrupted();
  expect(isProved(own)).toBe(false);
  watcher.resumed();
  expect(isProved(own)).toBe(true);
});

test('in another history than that of the request, nothing is proved', () => {
  const own = ticket(1, db);
  reset(own);
  expect(isProved(own, { of: 'h0' })).toBe(false);
  expect(isProved(own, { proof: 1 })).toBe(false);
  store.historyId = 'h2';
  expect(isProved(own)).toBe(false);
  expect(isProved(own, { of: 'h2' })).toBe(false);
});

test('a store that may leave something out of its reports is asked', () => {
  const own = ticket(1, db);
  reset(own);
  store.showsAllOn = (name) => name !== 'db';
  expect(isProved(own)).toBe(false);
  delete store.showsAllOn;
  expect(isProved(own)).toBe(false);
});
