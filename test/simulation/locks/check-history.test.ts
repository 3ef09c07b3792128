// The checker of simulated histories: each law is shown a history that breaks it; no engine, no
// store, times are given by hand.
import { expect, test } from '@jest/globals';
import type { LockRequest } from '../../../lib/lock/ticket.ts';
import { violationsOf } from './check-history.ts';
import type { Happening, HistoryEvent } from './history.ts';

/** Builds a history by hand: each event 1 ms after the one before, or at the given time. */
function history(...happenings: readonly (Happening & { at?: number })[]): HistoryEvent[] {
  let at = 0;
  return happenings.map((happening) => {
    at = happening.at ?? at + 1;
    return { ...happening, at };
  });
}

function messages(...happenings: readonly (Happening & { at?: number })[]): string[] {
  return violationsOf(history(...happenings)).map(({ message }) => message);
}

const exclusive = (name = 'a'): LockRequest[] => [{ name, mode: 'exclusive' }];
const shared = (name = 'a'): LockRequest[] => [{ name, mode: 'shared' }];

const opened = (session = 's'): Happening => ({ kind: 'opened', session, ttlMs: 1e6 });
const requested = (request: string, limits = {}): Happening => ({
  kind: 'requested',
  request,
  host: 'n1',
  limits: { locks: exclusive(), ...limits },
});
const queued = (token: number, locks = exclusive()): Happening => ({
  kind: 'queued',
  token,
  nonce: `nonce-${token}`,
  request: `r${token}`,
  session: 's',
  locks,
});
const answered = (
  token: number,
  answer: 'granted' | 'waiting' | 'refused' | 'gone',
  blockers: readonly number[] = [],
  method: 'enqueue' | 'place' = 'enqueue',
): Happening => ({
  kind: 'answered',
  method,
  host: 'n1',
  request: `r${token}`,
  token,
  answer,
  blockers,
});
const granted = (token: number) => answered(token, 'granted');
const held = (token: number, listens = true, locks = exclusive()): Happening => ({
  kind: 'held',
  request: `r${token}`,
  host: 'n1',
  token,
  locks,
  listens,
});
const removed = (token: number): Happening => ({
  kind: 'removed',
  token,
  cause: { method: 'remove', host: 'n1', tokens: [token] },
});
const released = (token: number): Happening => ({
  kind: 'released',
  request: `r${token}`,
  host: 'n1',
});
const notified = (token: number): Happening => ({
  kind: 'notified',
  request: `r${token}`,
  host: 'n1',
});
const checked = (token: number, passes: boolean): Happening => ({
  kind: 'checked',
  request: `r${token}`,
  host: 'n1',
  passes,
});
const wrote = (token: number): Happening => ({
  kind: 'wrote',
  token,
  lockName: 'a',
  value: `${token}.1`,
});
const failed = (token: number, code: string, waitedMs = 5): Happening => ({
  kind: 'failed',
  request: `r${token}`,
  code,
  message: code,
  waitedMs,
});
const host = (kind: 'paused' | 'resumed' | 'crashed'): Happening => ({ kind, host: 'n1' });
const ended: Happening = { kind: 'ended', leftovers: [] };
/** Queues `token` and grants it to its request. */
const taken = (token: number, locks = exclusive()) => [queued(token, locks), granted(token)];

test('the checker accepts a good history', () => {
  expect(
    messages(
      opened(),
      requested('r1'),
      ...taken(1),
      held(1),
      requested('r2'),
      queued(2),
      answered(2, 'waiting', [1]),
      wrote(1),
      { kind: 'write done', request: 'r1', value: '1.1' },
      released(1),
      removed(1),
      answered(2, 'granted', [], 'place'),
      held(2),
      released(2),
      removed(2),
      ended,
    ),
  ).toEqual([]);
  expect(messages(opened(), ...taken(1, shared()), ...taken(2, shared()))).toEqual([]);
});

test.each([
  ['to two holders at once', opened(), ...taken(1), ...taken(2)],
  ['to a reader beside a writer', opened(), ...taken(1), ...taken(2, shared())],
  ['without a grant', opened(), ...taken(1), requested('r2'), queued(2), held(2)],
])('the checker rejects a lock that is granted %s', (_, ...bad) => {
  expect(messages(...(bad as Happening[]))).toEqual([expect.stringMatching(/^exclusion: /)]);
});

test('the checker accepts a grant of which a host learns by its watch', () => {
  const wait = [opened(), ...taken(1), requested('r2'), queued(2), answered(2, 'waiting', [1])];
  const closed: Happening = { kind: 'closed gate', lockName: 'a' };
  expect(messages(...wait, removed(1), held(2), released(2), removed(2), ended)).toEqual([]);
  expect(messages(...wait, removed(1), closed, held(2))).toEqual([]);
  expect(messages(...wait, closed, removed(1), held(2))).toEqual([
    'exclusion: r2 holds token 2 without a grant',
  ]);
  expect(messages(...wait, removed(1), removed(2), ...taken(3), held(2))).toEqual([
    'honesty: r2 believed in token 2 after 3 of r3 was granted when handed over',
  ]);
  expect(messages(...wait, removed(1), { ...held(2), at: 2_000 })).toEqual([
    'lost wake-up: token 2 was granted 1993 ms late',
  ]);
});

test('the checker counts permits', () => {
  const permits: LockRequest[] = [{ name: 'a', mode: 'permit', permits: 2 }];
  const two = [opened(), ...taken(1, permits), ...taken(2, permits)];
  expect(messages(...two)).toEqual([]);
  expect(messages(...two, ...taken(3, permits))).toEqual([
    'exclusion: token 3 of r3 was granted, and a had no permit left',
    'first come: token 3 of r3 was granted before all who asked for a permit of a',
  ]);
  expect(messages(...two, removed(1), ...taken(3, permits))).toEqual([]);
  expect(messages(opened(), queued(1, permits), queued(2, permits), ...taken(3, permits))).toEqual([
    'first come: token 3 of r3 was granted before all who asked for a permit of a',
  ]);
  expect(messages(...two, ...taken(3))).toContainEqual(expect.stringMatching(/^exclusion: /));
  const asked = [1, 2, 3].map((number) => requested(`r${number}`));
  const beliefs = [held(1, true, permits), held(2, true, permits)];
  expect(messages(...asked, ...two, ...beliefs, removed(1), ...taken(3, permits))).toEqual([
    'honesty: all permits of a are believed in when 3 is granted',
  ]);
  const late = [removed(1), ...taken(3, permits), held(3, true, permits)];
  expect(messages(...asked, ...two, ...beliefs, ...late)).toContainEqual(
    'exclusion: r3 holds one permit too many of a',
  );
});

test('the checker rejects a grant out of order, and a grant of a removed ticket', () => {
  expect(messages(opened(), queued(1), ...taken(2))).toEqual([
    'first come: token 2 of r2 was granted before token 1 of r1',
  ]);
  expect(messages(opened(), queued(1), removed(1), granted(1))).toEqual([
    'token 1 was granted and is not in the store',
  ]);
});

test('the checker rejects tokens that do not grow with the grants', () => {
  expect(messages(opened(), ...taken(5), removed(5), ...taken(4))).toEqual([
    'token order: token 4 of r4 was granted after token 5 of r5',
  ]);
});

test('the checker rejects a grant through a closed gate, and not an earlier grant', () => {
  const closed: Happening = { kind: 'closed gate', lockName: 'a' };
  expect(messages(opened(), queued(1), closed, granted(1))).toEqual([
    'gate: token 1 of r1 was granted although a is disabled',
  ]);
  expect(messages(opened(), ...taken(1), closed, granted(1))).toEqual([]);
});

test('the checker rejects a write by somebody who does not hold the lock', () => {
  expect(messages(opened(), queued(1), wrote(1))).toEqual([
    'effect: token 1 of r1 wrote and was never granted',
  ]);
  expect(messages(opened(), ...taken(1), removed(1), ...taken(2), wrote(1))).toEqual([
    'effect: token 1 of r1 wrote after its ticket was gone',
    'effect: token 1 of r1 wrote after token 2 of r2 was granted',
  ]);
});

test('the checker rejects a write whose reported outcome is wrong', () => {
  const done: Happening = { kind: 'write done', request: 'r1', value: '1.1' };
  const lost: Happening = { kind: 'write refused', request: 'r1', value: '1.1', code: 'lost' };
  expect(messages(done)).toEqual(['effect: 1.1 was never written']);
  expect(messages(opened(), ...taken(1), wrote(1), lost)).toEqual(['effect: 1.1 was written']);
});

test('the checker rejects the removal of a ticket that the call did not name', () => {
  const cause = { method: 'remove', host: 'n1', nonce: 'nonce-1', tokens: [1] };
  expect(messages(opened(), queued(2), { kind: 'removed', token: 2, cause })).toEqual([
    expect.stringMatching(/^removal: token 2 of r2 was removed by /),
  ]);
  expect(messages(opened(), queued(2), { kind: 'removed', token: 2, cause: undefined })).toEqual([
    'removal: token 2 of r2 was removed by undefined',
  ]);
});

test('the checker rejects a ticket that outlives its session', () => {
  const short: Happening = { kind: 'opened', session: 's', ttlMs: 3_000 };
  expect(messages(short, queued(1), { ...ended, at: 4_002 })).toEqual([
    'expiry: token 1 of r1 outlived its session',
  ]);
  expect(messages(short, queued(1), { ...ended, at: 4_001 })).toEqual([]);
});

test('the checker rejects a holder that still believes in a lock that another was granted', () => {
  const lost = [opened(), requested('r1'), ...taken(1), held(1), removed(1), queued(2)];
  expect(messages(...lost, granted(2))).toEqual([
    'honesty: r1 believes in token 1 when 2 is granted',
  ]);
  expect(messages(...lost, notified(1), granted(2))).toEqual([]);
});

test('the checker rejects a check that passes after another was granted the lock', () => {
  const frozen = [opened(), requested('r1'), ...taken(1), held(1), host('paused'), removed(1)];
  expect(messages(...frozen, ...taken(2), host('resumed'), checked(1, true))).toEqual([
    'honesty: r1 believed in token 1 after 2 of r2 was granted at its check',
  ]);
  expect(messages(...frozen, ...taken(2), host('resumed'), checked(1, false), notified(1))).toEqual(
    [],
  );
  expect(messages(...frozen, ...taken(2), host('crashed'))).toEqual([]);
});

test('the checker rejects a lock that is already lost when it is handed over', () => {
  expect(
    messages(opened(), requested('r1'), ...taken(1), removed(1), ...taken(2), held(1)),
  ).toEqual(['honesty: r1 believed in token 1 after 2 of r2 was granted when handed over']);
});

test('the checker lets the holder of a broken lock learn it late, but not never', () => {
  const broken = [
    opened(),
    requested('r1'),
    ...taken(1),
    held(1),
    { kind: 'broken', token: 1 } as const,
  ];
  expect(messages(...broken, removed(1), ...taken(2), notified(1))).toEqual([]);
  expect(
    messages(...broken, { ...removed(1), at: 10 }, { ...checked(1, true), at: 1_000 }),
  ).toEqual(['honesty: r1 did not learn that token 1 was removed']);
});

test('the checker lets the holder of a lock that was broken before its grant arrived learn it late', () => {
  const granted = [opened(), requested('r1'), ...taken(1), requested('r2')];
  const next = [...taken(2), held(2), held(1), notified(1)];
  expect(messages(...granted, { kind: 'broken', token: 1 }, removed(1), ...next)).toEqual([]);
  expect(messages(...granted, removed(1), ...next)).toContain('exclusion: r1 and r2 hold at once');
});

test('the checker rejects a hold that is longer than the longest hold', () => {
  const start = [
    opened(),
    requested('r1', { maxHoldMs: 100 }),
    ...taken(1),
    { ...held(1), at: 10 },
  ];
  expect(messages(...start, { ...released(1), at: 300 })).toEqual([
    'longest hold: r1 was held for 290 of 100 ms',
  ]);
  expect(messages(...start, { ...notified(1), at: 120 }, { ...released(1), at: 300 })).toEqual([]);
});

test('the checker rejects errors without a cause', () => {
  const refused = [requested('r1', { timeoutMs: 0 }), answered(1, 'refused', [7])];
  expect(messages(...refused, failed(1, 'contended'))).toEqual([]);
  expect(messages(requested('r1', { timeoutMs: 0 }), failed(1, 'contended'))).toEqual([
    'error: r1 ended as contended: the store did not refuse it',
  ]);
  expect(messages(requested('r1', { timeoutMs: 9 }), failed(1, 'timeout', 8))).toEqual([
    'error: r1 ended as timeout: it waited 8 of 9 ms',
  ]);
  expect(messages(requested('r1', { timeoutMs: 9 }), failed(1, 'timeout', 900))).toEqual([
    'error: r1 ended as timeout: late',
  ]);
  for (const code of ['cancelled', 'disabled', 'lost', 'unavailable', 'TypeError']) {
    expect(messages(requested('r1'), failed(1, code))).toEqual([
      expect.stringContaining(`error: r1 ended as ${code}: `),
    ]);
  }
});

test('the checker accepts errors that a fault of the host explains', () => {
  const fault: Happening = { kind: 'fault', host: 'n1', what: 'rain' };
  expect(messages(requested('r1'), fault, failed(1, 'unavailable'))).toEqual([]);
  expect(
    messages(requested('r1'), { kind: 'cancelled', request: 'r1' }, failed(1, 'cancelled')),
  ).toEqual([]);
});

test('the checker rejects a cancelled request that holds or leaves its ticket', () => {
  const cancelled: Happening = { kind: 'cancelled', request: 'r1' };
  expect(messages(opened(), requested('r1'), cancelled, ...taken(1), held(1))).toEqual([
    'cancelled: r1 holds although it was cancelled before',
  ]);
  expect(messages(opened(), requested('r1'), queued(1), cancelled, failed(1, 'cancelled'))).toEqual(
    ['leftover: r1 failed and token 1 stands'],
  );
});

test('the checker rejects a waiter that is woken late, never, or without need', () => {
  const wait = [opened(), requested('r2'), ...taken(1), queued(2), answered(2, 'waiting', [1])];
  const place = answered(2, 'granted', [], 'place');
  expect(messages(...wait, { ...removed(1), at: 10 }, { ...place, at: 600 })).toEqual([
    'lost wake-up: token 2 was granted 590 ms late',
  ]);
  expect(messages(...wait, removed(1), ended)).toEqual(['lost wake-up: r2 was never answered']);
  const again = answered(2, 'waiting', [1], 'place');
  expect(messages(...wait, again)).toEqual([]);
  expect(messages(...wait, { ...again, at: 1_000 })).toEqual([
    'herd: token 2 was woken without need',
  ]);
});

test('the checker rejects what is left at the end', () => {
  expect(messages({ kind: 'ended', leftovers: ['a sleeper'] })).toEqual(['leftover: a sleeper']);
});
