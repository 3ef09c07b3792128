// The memory of a store's history, with a store and a memory that the test holds back; no time passes.
import { expect, test } from '@jest/globals';
import type {
  HistoryRecord,
  RememberedHistory,
} from '../../../../../lib/lock/stores/history-record.ts';
import { judgeHistory } from '../../../../../lib/lock/stores/history-record.ts';
import type { FoundHistory, HistorySource } from '../../../../../lib/lock/stores/history-source.ts';
import { PostgresSigns } from '../../../../../lib/lock/stores/postgres/signs.ts';
import { StoreHistory } from '../../../../../lib/lock/stores/store-history.ts';

function historyOf(id: string, past: string[]): HistoryRecord {
  return { id, past, since: '2026-01-02T03:04:05.000Z', cluster: 'c', ttlMs: 0 };
}

test('a revision of the earlier history that is saved during a change does not replace the new history', async () => {
  let record = historyOf('first', []);
  let revision = 5;
  const signs = new PostgresSigns();
  const source: HistorySource<FoundHistory> = {
    ...{ name: 'the store', signs },
    read: async () => ({ record, isQuarantined: false, revision }),
    judge: (found, known, floor) =>
      judgeHistory(found.record, known, { revision, floor, why: undefined }, 'the store'),
    write: async () => record,
    raiseTtl: async () => true,
  };
  const saved: RememberedHistory[] = [];
  let held: PromiseWithResolvers<void> | undefined;
  const memory = {
    before: undefined,
    save: async (remembered: RememberedHistory) => {
      saved.push(remembered);
      await held?.promise;
    },
  };
  const history = new StoreHistory(source, { memory });
  await history.settled();
  signs.heard('first', 9, 5);
  held = Promise.withResolvers();
  [record, revision] = [historyOf('second', ['first']), 7];
  signs.suspect();
  const entering = history.settled();
  while (saved.length < 2) await Promise.resolve();
  // As each second, and at the end, the highest revision is saved.
  const saving = history[Symbol.asyncDispose]();
  held.resolve();
  await Promise.all([entering, saving]);
  expect(saved.map(({ id }) => id)).toEqual(['first', 'second']);
  expect(history.id).toBe('second');
});
