// The rule by which a pool is this cluster's and may be marked: pure functions.

import { expect, test } from '@jest/globals';
import type { PoolSight } from '../../../../../lib/volumes/drivers/driver-pool.ts';
import { disagreement, mayMark, verdictOn } from '../../../../../lib/volumes/pools/mark-rule.ts';
import type { PoolRecord } from '../../../../../lib/volumes/pools/pool-record.ts';

const seen = (sight: Partial<PoolSight>): PoolSight => ({
  ...{ mark: undefined, isReadOnly: false, unmounted: undefined },
  ...sight,
});

test.each<[string, Partial<PoolSight>, object]>([
  ['its mark', { mark: 'us' }, { is: 'ours' }],
  ['its mark on a read-only file system', { mark: 'us', isReadOnly: true }, { is: 'read-only' }],
  ['the mark of another cluster', { mark: 'them' }, { is: 'foreign', mark: 'them' }],
  ['no mark', {}, { is: 'unmarked' }],
  ['nothing mounted where fstab says', { unmounted: '/v' }, { is: 'unmounted', mountpoint: '/v' }],
])('a pool with %s', (_, sight, verdict) => {
  expect(verdictOn(seen(sight), 'us')).toEqual(verdict);
});

const volume = (name: string, isEmpty = false) => ({ name, isEmpty });

test.each([
  ['no volume and an empty pool', [], [], undefined],
  ['the same volumes on both sides', ['a', 'b'], [volume('b'), volume('a')], undefined],
  ['an empty volume of an interrupted Create', ['a'], [volume('a'), volume('x', true)], undefined],
  ['an empty mount point', ['a', 'b'], [], { missing: ['a', 'b'], unknown: [] }],
  ['some volumes of the store', ['a', 'b'], [volume('b')], { missing: ['a'], unknown: [] }],
  ['volumes of somebody else', [], [volume('x')], { missing: [], unknown: ['x'] }],
  ['ours and somebody else’s', ['a'], [volume('a'), volume('x')], { missing: [], unknown: ['x'] }],
])('%s', (_, recorded, stored, expected) => {
  expect(disagreement({ recorded, stored })).toEqual(expected);
});

test.each<[string, Pick<PoolRecord, 'state' | 'owner'> | undefined, boolean]>([
  ['nobody has claimed the pool', undefined, true],
  ['this host was interrupted while it marked', { state: 'marking', owner: 'me' }, true],
  ['this host has marked a pool before', { state: 'marked', owner: 'me' }, false],
  ['another host is marking', { state: 'marking', owner: 'other' }, false],
  ['another host has marked', { state: 'marked', owner: 'other' }, false],
])('%s', (_, record, expected) => {
  const whole = record && ({ version: 1, host: 'n', since: '', ...record } as const);
  expect(mayMark(whole, 'me')).toBe(expected);
});
