// The checker of the workers' histories: each law is shown a history that breaks it; no processes.
import { expect, test } from '@jest/globals';
import type { Evidence, SetVersion } from './check-history.ts';
import { lostElements, violationsIn } from './check-history.ts';
import type { HistoryEvent, Occurrence } from './history.ts';

const sets = ['db'];

/** Builds a history: one event each millisecond, by the process `who`. */
function historyOf(...steps: readonly (readonly [who: string, occurrence: Occurrence])[]) {
  return steps.map(([process, occurrence], index): HistoryEvent => {
    return { process, atMs: index, wall: '2026-01-02T03:04:05Z', ...occurrence };
  });
}

/** The events of one holder, from the grant to the outcome of its write. */
function turn(who: string, token: number, revision: number, outcome: 'written' | 'refused') {
  const element = `${who}-1`;
  const write = { sets, token, element };
  return [
    [who, { op: 'held', sets, token }],
    [who, { op: 'read', set: 'db', token, revision }],
    [who, { op: 'held', sets, token }],
    [who, { op: 'write', ...write }],
    [who, { op: outcome, ...write }],
  ] as const;
}

function evidence(events: HistoryEvent[], ...versions: SetVersion[]): Evidence {
  return { events, sets: new Map([['db', versions]]) };
}

const one: SetVersion = { revision: 6, elements: [['n1-1', 5]] };
const two: SetVersion = {
  revision: 9,
  elements: [
    ['n1-1', 5],
    ['n2-1', 8],
  ],
};

test('the checker accepts holders that take turns', () => {
  const events = historyOf(...turn('n1', 5, 0, 'written'), ...turn('n2', 8, 6, 'written'));
  expect(violationsIn(evidence(events, one, two))).toEqual([]);
  expect(lostElements(evidence(events, one, two))).toEqual([]);
});

test('the checker accepts either outcome of a write without an answer', () => {
  const dead = turn('n2', 8, 6, 'written').slice(0, -1);
  const events = historyOf(...turn('n1', 5, 0, 'written'), ...dead);
  expect(violationsIn(evidence(events, one, two))).toEqual([]);
  expect(violationsIn(evidence(events, one))).toEqual([]);
});

test('the checker accepts a write that came twice because its answer was lost', () => {
  const events = historyOf(...turn('n1', 5, 0, 'written'), ...turn('n2', 8, 6, 'written'));
  expect(violationsIn(evidence(events, one, two, { ...two, revision: 10 }))).toEqual([]);
});

test('the checker reports two holders at once', () => {
  const [held, ...rest] = turn('n1', 5, 0, 'written');
  const [heldToo, ...restToo] = turn('n2', 8, 6, 'written');
  const events = historyOf(held, heldToo, ...rest, ...restToo);
  expect(violationsIn(evidence(events, one, two))).toEqual([
    'db: n1 (token 5) still held it 2.000 ms after n2 (token 8) did',
  ]);
});

test('the checker reports a token that was given to two holders', () => {
  const events = historyOf(...turn('n1', 5, 0, 'written'), ...turn('n2', 5, 6, 'written'));
  const both: SetVersion = {
    revision: 9,
    elements: [
      ['n1-1', 5],
      ['n2-1', 5],
    ],
  };
  expect(violationsIn(evidence(events, one, both))).toEqual([
    'db: token 5 was granted to n1 and to n2',
  ]);
});

test('the checker reports a grant out of queue order', () => {
  const events = historyOf(
    ['n1', { op: 'queued', sets, token: 10 }],
    ['n2', { op: 'request', sets }],
    ...turn('n2', 8, 0, 'written'),
  );
  const version: SetVersion = { revision: 9, elements: [['n2-1', 8]] };
  expect(violationsIn(evidence(events, version))).toEqual([
    'db: n2 (token 8) passed somebody who had queued before',
  ]);
});

test('the checker reports a write after the next holder has read', () => {
  const late = turn('n1', 5, 0, 'written').slice(3);
  const reader = turn('n2', 8, 0, 'written').slice(0, 2);
  expect(violationsIn(evidence(historyOf(...reader, ...late), one))).toEqual([
    'db: n1-1 (token 5) was written after the holder with token 8 had read the set',
  ]);
});

test('the checker reports a lost update', () => {
  const events = historyOf(...turn('n1', 5, 0, 'written'), ...turn('n2', 8, 6, 'written'));
  const lost: SetVersion = { revision: 9, elements: [['n2-1', 8]] };
  expect(violationsIn(evidence(events, one, lost))).toEqual([
    'db: revision 9 does not extend the one before: an update was lost',
    'db: n1-1 was acknowledged and is lost',
  ]);
  expect(lostElements(evidence(events, one, lost))).toEqual(['n1-1']);
});

test('the checker reports writes out of token order', () => {
  const events = historyOf(...turn('n1', 5, 0, 'written'), ...turn('n2', 4, 6, 'written'));
  const version: SetVersion = {
    revision: 9,
    elements: [
      ['n1-1', 5],
      ['n2-1', 4],
    ],
  };
  const violations = violationsIn(evidence(events, one, version));
  expect(violations).toContain('db: revision 9 was written with token 4, after 5');
});

test('the checker reports a refused write that is in the set', () => {
  const events = historyOf(...turn('n1', 5, 0, 'refused'), ...turn('n2', 8, 6, 'written'));
  const violations = violationsIn(evidence(events, one, two));
  expect(violations).toEqual(['db: n1-1 was refused and is there']);
});

test('the checker reports an element that nobody wrote, and a run without writes', () => {
  const events = historyOf(...turn('n1', 5, 0, 'written'));
  expect(violationsIn(evidence(events, one, two))).toEqual([
    'db: n2-1 is there and nobody wrote it',
  ]);
  expect(violationsIn(evidence([]))).toEqual(['nothing was written']);
});
