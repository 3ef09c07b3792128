// What a look at etcd means for the history of the store; pure.
import { expect, test } from '@jest/globals';
import type { EtcdSeen } from '../../../../lib/lock/stores/etcd/history-verdict.ts';
import { judgeEtcd } from '../../../../lib/lock/stores/etcd/history-verdict.ts';
import type {
  HistoryRecord,
  RememberedHistory,
} from '../../../../lib/lock/stores/history-record.ts';
import { pastOf } from '../../../../lib/lock/stores/history-record.ts';

const record: HistoryRecord = {
  id: 'b',
  since: '2026-01-02T03:04:05Z',
  cluster: '7',
  spare: 5,
  past: ['a'],
  ttlMs: 20_000,
};
const known = { id: 'b', cluster: '7', revision: 40, ttlMs: 20_000 };
const seen = { cluster: '7', revision: 50, floor: 40, spare: 6 };

test('the same etcd with more revisions has the same history', () => {
  expect(judgeEtcd(record, known, seen)).toEqual({ is: 'same' });
  expect(judgeEtcd(record, undefined, seen)).toEqual({ is: 'joined' });
  expect(judgeEtcd(undefined, undefined, seen)).toEqual({ is: 'first' });
});

test('an etcd that does not tell the length of its log is trusted in that', () => {
  expect(judgeEtcd(record, known, { ...seen, spare: undefined })).toEqual({ is: 'same' });
  const { spare: _, ...without } = record;
  expect(judgeEtcd(without, known, { ...seen, spare: -900 })).toEqual({ is: 'same' });
});

test.each<[string, HistoryRecord | undefined, RememberedHistory | undefined, EtcdSeen]>([
  ['another cluster ID', record, known, { ...seen, cluster: '8' }],
  ['a log that is too short', record, known, { ...seen, spare: 4 }],
  ['a revision that went back', record, known, { ...seen, revision: 39 }],
  ['no record', undefined, known, seen],
  ['a record of the history before', { ...record, id: 'a', past: [] }, known, seen],
  ['a short log, for a host without a memory', record, undefined, { ...seen, spare: 4 }],
])('%s is another history', (_, stored, remembered, look) => {
  expect(judgeEtcd(stored, remembered, look)).toMatchObject({ is: 'other' });
});

test('a change that another host has recorded is followed', () => {
  expect(judgeEtcd(record, { ...known, id: 'a' }, seen)).toMatchObject({ is: 'followed' });
});

test('the next history names those before it, each once', () => {
  expect(pastOf(record, known)).toEqual(['a', 'b']);
  expect(pastOf(undefined, known)).toEqual(['b']);
  expect(pastOf(record, { ...known, id: 'c' })).toEqual(['a', 'b', 'c']);
});
