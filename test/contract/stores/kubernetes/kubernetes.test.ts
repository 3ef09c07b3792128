// What only the Kubernetes store has: its account, its places, its limits, and writers that collide.
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { StoreRefusedError } from '../../../../lib/lock/errors.ts';
import { ApiServer } from '../../../../lib/lock/stores/kubernetes/api-server.ts';
import { annotation } from '../../../../lib/lock/stores/kubernetes/place.ts';
import { kubernetesStore } from '../../../../lib/lock/stores/kubernetes/store.ts';
import type { Kubernetes } from '../../../support/kubernetes.ts';
import { startKubernetes } from '../../../support/kubernetes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { manager, take } from '../../bench/manager-bench.ts';
import { clientOf } from '../../bench/store-bench.ts';

describeWith(['etcd', 'kubernetes'], 'the Kubernetes store', () => {
  let kubernetes: Kubernetes;
  let api: ApiServer;

  beforeAll(async () => {
    kubernetes = await startKubernetes();
    api = new ApiServer(kubernetes.admin);
  });
  afterAll(async () => {
    api[Symbol.dispose]();
    await kubernetes[Symbol.asyncDispose]();
  });

  test('an account without rights is refused in words, and works with the rules of the page', async () => {
    const { account } = kubernetes;
    await using store = kubernetesStore({ ...account, name: 'rights' });
    await expect(store.tickets()).rejects.toThrow(StoreRefusedError);
    await expect(store.tickets()).rejects.toThrow(/refuses GET .*; give the account the rules of/);
    expect(await store.health()).toMatchObject([{ severity: 'error' }]);
    await allow();
    await using locks = manager(store, 'n1');
    await (await take(locks, 'db')).unlock();
    expect(await store.tickets()).toEqual([]);
  });

  test('a client that has followed nothing tells a living holder from a dead one', async () => {
    const options = { ...kubernetes.admin, name: 'fresh' };
    await using store = kubernetesStore(options);
    await using living = manager(store, 'n1', { ttlMs: 6_000 });
    const alive = await take(living, 'db');
    // It never renews, and its TTL is far from its end.
    await using silent = kubernetesStore(options);
    const { id } = await silent.openSession({ ttlMs: 12_000, owner: 'n2', resumable: false });
    await using fresh = kubernetesStore(options);
    const [isAlive, isSilentAlive] = await Promise.all([
      fresh.sessionAlive(alive.ticket.session),
      fresh.sessionAlive(id),
    ]);
    expect({ isAlive, isSilentAlive }).toEqual({ isAlive: true, isSilentAlive: false });
  });

  test('keeps the locks in an annotation of an object that somebody else owns', async () => {
    const path = '/api/v1/namespaces/default/configmaps/theirs';
    const options = { ...kubernetes.admin, name: 'theirs', resource: path };
    await using store = kubernetesStore(options);
    await expect(store.tickets()).rejects.toThrow(`${path} does not exist; create it`);
    const body = { metadata: { name: 'theirs' }, data: { mine: 'as it was' } };
    await api.call('POST', '/api/v1/namespaces/default/configmaps', { body });
    await using locks = manager(store, 'n1');
    await using _ = await take(locks, 'db');
    const object = await api.call<typeof body & { metadata: { annotations: object } }>('GET', path);
    expect(object.data).toEqual({ mine: 'as it was' });
    expect(object.metadata.annotations).toHaveProperty([annotation]);
  });

  test('refuses what does not fit, takes what was asked beside it, and can always be emptied', async () => {
    await using store = kubernetesStore({ ...kubernetes.admin, name: 'full' });
    const n1 = await clientOf(store, 'n1');
    const large = (size: number) => {
      const request = n1.request('db');
      return { ...request, holder: { ...request.holder, detail: 'x'.repeat(size) } };
    };
    const outcomes = await Promise.allSettled([
      store.enqueue(n1.request('small')),
      store.enqueue(large(2_000_000)),
    ]);
    expect(outcomes).toMatchObject([
      { value: { state: 'granted' } },
      { reason: { message: expect.stringMatching(/can hold 1000 KiB, and the locks would need/) } },
    ]);
    for (let held = 0; held < 4; held += 1) await store.enqueue(large(180_000));
    expect(await store.health()).toMatchObject([{ severity: 'warning' }]);
    for (const ticket of await store.tickets()) await store.remove(ticket);
    expect(await store.health()).toEqual([]);
  });

  test('a store that was deleted and made again gives no token a second time', async () => {
    const path = '/api/v1/namespaces/default/configmaps/again';
    const tokenOf = async () => {
      await using store = kubernetesStore({ ...kubernetes.admin, name: 'again' });
      const n1 = await clientOf(store, 'n1');
      // Many steps of one write: the tokens grow faster than the versions of the cluster.
      const held = Array.from({ length: 300 }, (_, index) => n1.hold(`db${index}`));
      const tokens = (await Promise.all(held)).map(({ token }) => token);
      return { least: Math.min(...tokens), most: Math.max(...tokens) };
    };
    const before = await tokenOf();
    await api.call('DELETE', path);
    expect((await tokenOf()).least).toBeGreaterThan(before.most);
  });

  test('S48 released locks leave nothing: no ticket, no Lease, and no text that grows', async () => {
    const path = '/api/v1/namespaces/default/configmaps/cycles';
    const lengthOf = async () => {
      const { data } = await api.call<{ data: { state: string } }>('GET', path);
      return data.state.length;
    };
    const store = kubernetesStore({ ...kubernetes.admin, name: 'cycles' });
    const locks = manager(store, 'n1');
    const cycles = async (count: number) => {
      for (let cycle = 0; cycle < count; cycle += 1) await (await take(locks, 'db')).unlock();
    };
    // As many changes as are kept for watchers.
    await cycles(80);
    const before = await lengthOf();
    await cycles(80);
    expect(await lengthOf()).toBeLessThan(before * 1.1);
    expect(await store.tickets()).toEqual([]);
    await locks.close();
    await store[Symbol.asyncDispose]();
    const list = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
    const query = 'labelSelector=berth.io/store%3Dcycles';
    expect(await api.call('GET', `${list}?${query}`)).toMatchObject({ items: [] });
  });

  test('a holder learns that the store was deleted, and closes without an error', async () => {
    const path = '/api/v1/namespaces/default/configmaps/deleted';
    await using store = kubernetesStore({ ...kubernetes.admin, name: 'deleted' });
    await using locks = manager(store, 'n1');
    const lock = await take(locks, 'db');
    const lost = once(lock.signal, 'abort');
    await api.call('DELETE', path);
    await lost;
    expect(() => lock.throwIfLost()).toThrow(/its ticket was removed/);
    await (await take(locks, 'db')).unlock();
  });

  test('refuses, and does not hang, when its text was put back', async () => {
    const path = '/api/v1/namespaces/default/configmaps/back';
    await using store = kubernetesStore({ ...kubernetes.admin, name: 'back' });
    const n1 = await clientOf(store, 'n1');
    const { data } = await api.call<{ data: object }>('GET', path);
    const request = n1.request('db');
    await store.enqueue(request);
    await api.call('PATCH', path, { patch: 'merge', body: { data } });
    await expect(store.tickets()).rejects.toThrow(/were put back to an earlier state; end all/);
    await expect(store.enqueue(n1.request('other'))).rejects.toThrow(StoreRefusedError);
  });

  test('a holder stops by its deadline when the text was put back', async () => {
    const path = '/api/v1/namespaces/default/configmaps/held-back';
    await using store = kubernetesStore({ ...kubernetes.admin, name: 'held-back' });
    await using locks = manager(store, 'n1', { ttlMs: 3_000 });
    await locks.open();
    const { data } = await api.call<{ data: object }>('GET', path);
    const lock = await take(locks, 'db');
    const lost = once(lock.signal, 'abort');
    await api.call('PATCH', path, { patch: 'merge', body: { data } });
    await lost; // Its Lease could still be renewed, for ever.
    expect(() => lock.throwIfLost()).toThrow(/could not be reached in time to prove/);
  });

  test('keeps no locks in a Deployment, whose annotations can be put back', () => {
    const resource = '/apis/apps/v1/namespaces/shop/deployments/web';
    const open = () => kubernetesStore({ ...kubernetes.admin, name: 'web', resource });
    expect(open).toThrow(/"kubectl rollout undo" puts the annotations of a Deployment back/);
  });

  test('does not count the changes that are kept for watchers as space that is used', async () => {
    await using store = kubernetesStore({ ...kubernetes.admin, name: 'changes' });
    const n1 = await clientOf(store, 'n1');
    const held = await n1.hold('db');
    for (let index = 0; index < 8; index += 1) {
      const writes = [{ key: 'large', value: `${index}${'x'.repeat(100_000)}` }];
      await store.commit({ guards: [held], writes, release: [] });
    }
    expect(await store.health()).toEqual([]);
  });

  describe('with eight clients that write at once', () => {
    test('S50 loses no count, and nobody waits for ever', async () => {
      await using stack = new AsyncDisposableStack();
      const clients = Array.from({ length: 8 }, (_, index) => {
        const store = stack.use(kubernetesStore({ ...kubernetes.admin, name: 'busy' }));
        return stack.use(manager(store, `n${index}`));
      });
      let count = 0;
      const startedAt = performance.now();
      const each = 15;
      await Promise.all(
        clients.map(async (locks) => {
          for (let round = 0; round < each; round += 1) {
            const lock = await take(locks, 'count');
            const before = await locks.record('count');
            const value = `${Number((before?.value ?? '0').split(' ')[0]) + 1} ${lock.token}`;
            await lock.guard([{ key: 'count', value }], { unlock: true });
            count += 1;
          }
        }),
      );
      const seconds = (performance.now() - startedAt) / 1_000;
      process.stderr.write(`${Math.round(count / seconds)} grants/s on one lock of 8 clients\n`);
      expect((await clients[0]?.record('count'))?.value).toMatch(new RegExp(`^${8 * each} `));
    });
  });

  /** Gives the account `locks` the role of docs/kubernetes.md. */
  async function allow(): Promise<void> {
    const rules = [
      {
        apiGroups: [''],
        resources: ['configmaps'],
        verbs: ['get', 'list', 'watch', 'create', 'patch'],
      },
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        verbs: ['get', 'list', 'create', 'patch', 'delete'],
      },
    ];
    const group = '/apis/rbac.authorization.k8s.io/v1/namespaces/default';
    const metadata = { name: 'locks' };
    await api.call('POST', `${group}/roles`, { body: { metadata, rules } });
    const subjects = [{ kind: 'User', name: 'locks' }];
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'locks' };
    await api.call('POST', `${group}/rolebindings`, { body: { metadata, subjects, roleRef } });
  }
});
