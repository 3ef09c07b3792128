// Which members of etcd are learnt from the cluster, and which are used. The cluster is a list in memory.
import { expect, test } from '@jest/globals';
import type { RememberedMembers } from '../../../../lib/etcd/learnt-members.ts';
import { LearntMembers } from '../../../../lib/etcd/learnt-members.ts';
import { endpointOf, MemberList } from '../../../../lib/etcd/member-list.ts';
import { askAll } from '../../../../lib/etcd/members.ts';
import { eventually } from '../../../support/eventually.ts';

test.each([
  ['http://10.0.0.1:2379', '10.0.0.1:2379'],
  ['http://[fd77::1]:2379', '[fd77::1]:2379'],
  ['http://etcd1.lab:2379', 'etcd1.lab:2379'],
  ['http://etcd1.lab', 'etcd1.lab:80'],
  ['https://10.0.0.1:2379', undefined],
  ['unix://etcd.sock', undefined],
  ['http://localhost:2379', undefined],
  ['http://127.0.0.1:2379', undefined],
  ['http://[::1]:2379', undefined],
  ['http://[::ffff:127.0.0.1]:2379', undefined],
  ['http://0.0.0.0:2379', undefined],
  ['http://[::]:2379', undefined],
  ['http://[fe80::1]:2379', undefined],
  ['nothing', undefined],
])('a member that advertises %s is asked at %s', (url, endpoint) => {
  expect(endpointOf(url, false)).toBe(endpoint);
});

/** A cluster that lists `members`, of which those in `there` answer. */
function bench(configured: readonly string[], before?: RememberedMembers, isReachable = true) {
  const list = new MemberList(configured);
  const cluster = {
    isReachable,
    members: [] as { id: string; urls: string[] }[],
    there: new Map<string, { id: string; cluster: string }>(),
    probed: [] as string[],
    saved: [] as RememberedMembers[],
  };
  const learning = new LearntMembers({
    list,
    isSecure: false,
    memory: { before, save: async (members) => void cluster.saved.push(members) },
    ask: async () => {
      if (!cluster.isReachable) throw new Error('nobody answers');
      return { cluster: 'c', members: cluster.members };
    },
    probe: async (endpoint) => {
      cluster.probed.push(endpoint);
      const answer = cluster.there.get(endpoint);
      if (!answer) throw new Error('nobody is there');
      return answer;
    },
    doubts: () => performance.now(), // Each look asks again.
    pauseMs: 5,
  });
  return Object.assign(cluster, { list, [Symbol.dispose]: () => learning[Symbol.dispose]() });
}

test('a member is used at an address that it advertises once it has answered there, until it is removed', async () => {
  using cluster = bench(['10.0.0.1:2379']);
  cluster.members = [
    { id: '1', urls: ['http://10.0.0.1:2379'] },
    { id: '2', urls: ['http://10.0.0.2:2379', 'http://localhost:2379'] },
    { id: '3', urls: ['http://10.0.0.3:2379'] },
    { id: '4', urls: ['http://10.0.0.4:2379'] },
  ];
  cluster.there.set('10.0.0.2:2379', { id: '2', cluster: 'c' });
  cluster.there.set('10.0.0.3:2379', { id: '9', cluster: 'c' });
  cluster.there.set('10.0.0.4:2379', { id: '4', cluster: 'other' });
  await eventually(() =>
    expect(cluster.list.endpoints).toEqual(['10.0.0.1:2379', '10.0.0.2:2379']),
  );
  expect(cluster.probed).not.toContain('10.0.0.1:2379');
  // It is down for a while, then another member takes its place.
  cluster.there.delete('10.0.0.2:2379');
  cluster.there.set('10.0.0.3:2379', { id: '3', cluster: 'c' });
  await eventually(() => expect(cluster.list.endpoints).toContain('10.0.0.3:2379'));
  expect(cluster.list.endpoints).toContain('10.0.0.2:2379');
  cluster.members = cluster.members.slice(2);
  await eventually(() =>
    expect(cluster.list.endpoints).toEqual(['10.0.0.1:2379', '10.0.0.3:2379']),
  );
  await eventually(() =>
    expect(cluster.saved.at(-1)).toEqual({
      cluster: 'c',
      members: [{ id: '3', endpoint: '10.0.0.3:2379' }],
    }),
  );
});

const remembered = {
  cluster: 'c',
  members: [
    { id: '2', endpoint: '10.0.0.2:2379' },
    { id: '3', endpoint: '10.0.0.3:2379' },
  ],
};

test('a remembered member is used if it answers as one of the same cluster, before the cluster is reached', async () => {
  using cluster = bench(['10.0.0.1:2379'], remembered, false);
  cluster.there.set('10.0.0.2:2379', { id: '2', cluster: 'another' });
  cluster.there.set('10.0.0.3:2379', { id: '3', cluster: 'c' });
  await eventually(() => expect(cluster.list.endpoints).toContain('10.0.0.3:2379'));
  expect(cluster.list.endpoints).not.toContain('10.0.0.2:2379');
});

test('a remembered member that is down stays, as long as the cluster lists it', async () => {
  using cluster = bench(['10.0.0.1:2379'], remembered, false);
  cluster.members = [{ id: '2', urls: ['http://10.0.0.2:2379'] }];
  cluster.isReachable = true;
  await eventually(() => expect(cluster.list.endpoints).toContain('10.0.0.2:2379'));
  expect(cluster.list.endpoints).not.toContain('10.0.0.3:2379');
});

test('nothing is learnt where etcd is reached by loopback addresses only', async () => {
  using cluster = bench(['localhost:2379', '[::1]:2379'], remembered);
  cluster.there.set('10.0.0.2:2379', { id: '2', cluster: 'c' });
  cluster.members = [{ id: '2', urls: ['http://10.0.0.2:2379'] }];
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(cluster.list.endpoints).toEqual(['localhost:2379', '[::1]:2379']);
  expect(cluster.probed).toEqual([]);
});

test('a member is listed once, at its configured place if it answers there', async () => {
  const list = new MemberList(['e1:2379', 'e2:2379']);
  list.learn([
    { id: '1', endpoint: '10.0.0.1:2379' },
    { id: '2', endpoint: '10.0.0.2:2379' },
    { id: '3', endpoint: '10.0.0.3:2379' },
    { id: '3', endpoint: '[fd77::3]:2379' },
  ]);
  const ids = new Map([
    ['e1:2379', '1'],
    ['10.0.0.1:2379', '1'],
    ['10.0.0.2:2379', '2'],
    ['[fd77::3]:2379', '3'],
  ]);
  const state = {
    ...{ cluster: 'c', leader: '1', version: '3.5.30', databaseBytes: 1, usedBytes: 1 },
    ...{ quotaBytes: undefined, applied: 1, errors: [] },
  };
  const all = await askAll(list, async (endpoint) => {
    const id = ids.get(endpoint);
    if (id === undefined) throw new Error('nobody is there');
    return { ...state, id };
  });
  expect(all.map(({ endpoint, state: is }) => [endpoint, 'id' in is])).toEqual([
    ['e1:2379', true],
    ['e2:2379', false],
    ['10.0.0.2:2379', true],
    ['[fd77::3]:2379', true],
  ]);
});
