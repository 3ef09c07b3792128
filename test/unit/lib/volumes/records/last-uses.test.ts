// When a volume was used last: the rule on its note and its mount mark.

import { expect, test } from '@jest/globals';
import { lastUseNote, lastUseOf } from '../../../../../lib/volumes/records/last-uses.ts';

const createdAt = '2026-01-01T00:00:00.000Z';
const at = '2026-02-01T00:00:00.000Z';
const host = { access: 'host', createdAt } as const;
const note = (revision: number) => ({ ...lastUseNote('db', 'n1', new Date(at)), revision });
const mark = (revision: number) => ({ key: 'tenures/db', value: 'nonce', revision }); // tidy-ok: stored name

test.each([
  ['nobody has mounted it', undefined, undefined, { is: 'never', since: createdAt }],
  ['its last Mount has ended', note(7), mark(5), { is: 'ended', at }],
  ['it was renamed or restored since', note(7), undefined, { is: 'ended', at }],
  ['a later Mount has not said that it ended', note(7), mark(9), { is: 'unknown' }],
  ['an earlier release has mounted it', undefined, mark(5), { is: 'unknown' }],
  ['the note is damaged', { ...note(7), value: '{' }, undefined, { is: 'unknown' }],
  [
    'the note has no time',
    { ...note(7), value: '{"version":1,"at":"?","host":"n1"}' },
    undefined,
    { is: 'unknown' },
  ],
])('%s', (_, last, mounted, expected) => {
  expect(lastUseOf(host, last, mounted)).toEqual(expected);
});

test('a shared volume without a note may have been used by an earlier release', () => {
  const shared = { ...host, access: 'shared' } as const;
  expect(lastUseOf(shared, undefined, undefined)).toEqual({ is: 'unknown' });
  expect(lastUseOf(shared, note(1), undefined)).toEqual({ is: 'ended', at });
});
