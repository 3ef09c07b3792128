import type { Mutation, MutationList } from '../mutation.ts';

const kubernetes = (file: string) => `lib/lock/stores/kubernetes/${file}`;

const mutations: readonly Mutation[] = [
  {
    promise: 'Kubernetes: the object is replaced only as the version that was read',
    file: kubernetes('state-object.ts'),
    from: 'metadata: { ...fields.metadata, resourceVersion }',
    to: 'metadata: { ...fields.metadata }',
  },
  {
    promise: 'Kubernetes: a session ends only if its client has not renewed it for its TTL',
    file: kubernetes('dead-sessions.ts'),
    from: 'unchangedMs >= lease.ttlMs',
    to: 'unchangedMs >= lease.ttlMs / 2',
  },
  {
    promise: 'Kubernetes: the time without a renewal counts from the first look at that version',
    file: kubernetes('dead-sessions.ts'),
    from: 'if (before?.resourceVersion === resourceVersion) return before;',
    to: 'if (before) return before;',
  },
  {
    promise: 'Kubernetes: a Lease is deleted only as the version that was not renewed',
    file: kubernetes('leases.ts'),
    from: 'preconditions: { uid, resourceVersion },',
    to: 'preconditions: { uid },',
  },
  {
    promise: 'Kubernetes: the session of a client that died ends',
    file: kubernetes('object-store.ts'),
    from: 'void dead.run(closing.signal);',
    to: '',
  },
  {
    promise: 'Kubernetes: an earlier client of a session removes nothing of the later one',
    file: kubernetes('sessions.ts'),
    from: 'return own !== undefined && now !== undefined && own !== now;',
    to: 'return false;',
  },
  {
    promise: 'Kubernetes: an answer without a write rests on the last version',
    file: kubernetes('steps.ts'),
    from: '      if (isLast) {',
    to: '      if (isLast || !isChanged) {',
  },
];

export const kubernetesMutations: MutationList = {
  mutations,
  simulation: 'test/simulation/kubernetes/simulation.test.ts',
  test: 'keeps its promises',
};
