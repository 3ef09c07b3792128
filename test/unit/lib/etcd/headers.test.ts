// What counts as a suspicion of another history, by headers alone.
import { expect, test } from '@jest/globals';
import { EtcdHeaders } from '../../../../lib/etcd/headers.ts';

function heard(cluster: string, revision: number) {
  return { cluster_id: cluster, member_id: '1', revision: String(revision) };
}

test('answers of the known cluster at a revision that does not go back raise no suspicion', () => {
  const headers = new EtcdHeaders();
  headers.begin('7', 10);
  const before = headers.suspicions;
  headers.heard(heard('7', 10), 10);
  headers.heard(heard('7', 12), headers.revision);
  expect(headers.revision).toBe(12);
  expect(headers.suspicions).toBe(before);
});

test('an answer of another cluster raises a suspicion, and its revision does not count', () => {
  const headers = new EtcdHeaders();
  headers.begin('7', 10);
  const before = headers.suspicions;
  headers.heard(heard('8', 99), 0);
  expect(headers.suspicions).toBe(before + 1);
  expect(headers.revision).toBe(10);
});

test('a linearizable answer below what was seen before the call raises a suspicion', () => {
  const headers = new EtcdHeaders();
  headers.begin('7', 10);
  const before = headers.suspicions;
  headers.heard(heard('7', 9), 10);
  expect(headers.suspicions).toBe(before + 1);
});

test('an answer of a member that is behind raises none', () => {
  const headers = new EtcdHeaders();
  headers.begin('7', 10);
  const before = headers.suspicions;
  headers.heard(heard('7', 9), 0);
  expect(headers.suspicions).toBe(before);
  expect(headers.revision).toBe(10);
});

test('before the cluster is known, there is one suspicion', () => {
  const headers = new EtcdHeaders();
  headers.heard(heard('7', 9), 0);
  expect(headers.suspicions).toBe(1);
});
