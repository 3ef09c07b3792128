// What a user reads when etcd refuses a request or is away: a real etcd, real time.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { EtcdOptions } from '../../../../lib/etcd/client.ts';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `the errors of etcd ${version}`, () => {
    let etcd: Etcd;
    let stack: AsyncDisposableStack;

    beforeEach(async () => {
      stack = new AsyncDisposableStack();
      etcd = stack.use(await startEtcd({ version, flags: ['--quota-backend-bytes', '2000000'] }));
    });
    afterEach(() => stack.disposeAsync());

    function connect(auth?: EtcdOptions['auth']): EtcdStore {
      const endpoints = etcd.endpoints.map((url) => new URL(url).host);
      return stack.use(new EtcdStore(new EtcdClient({ endpoints, auth }), '/berth'));
    }

    async function enableAuth(): Promise<void> {
      await etcd.ctlOk('user', 'add', 'root', '--new-user-password', 'secret');
      await etcd.ctlOk('user', 'grant-role', 'root', 'root');
      await etcd.ctlOk('user', 'add', 'berth', '--new-user-password', 'quay');
      await etcd.ctlOk('auth', 'enable');
    }

    async function expectRefusal(call: () => Promise<unknown>, message: RegExp): Promise<void> {
      // On a busy machine, a call may be given up before etcd has refused it.
      await eventually(async () => {
        const refused = call();
        await expect(refused).rejects.toThrow(StoreUnavailableError);
        await expect(refused).rejects.toThrow(message);
      });
    }

    test('name the right that a user lacks', async () => {
      await enableAuth();
      const store = connect({ user: 'berth', password: 'quay' });
      await expectRefusal(() => clientOf(store, 'n1'), /^etcd refuses: .*permission denied; grant/);
      await expectRefusal(() => store.tickets(), /permission denied; grant/);
    });

    test('tell a user with a wrong password from a user without one', async () => {
      await enableAuth();
      const wrong = connect({ user: 'berth', password: 'wharf' });
      await expectRefusal(() => wrong.tickets(), /^etcd refuses: .*; check the user/);
      await expectRefusal(
        () => connect().tickets(),
        /^etcd refuses: .*; this etcd requires a user/,
      );
    });

    test('say that etcd has no users when one is given', async () => {
      const store = connect({ user: 'berth', password: 'quay' });
      await expectRefusal(() => store.tickets(), /^etcd refuses: .*; leave the user out/);
    });

    test('say that etcd is out of space, and let removals through', async () => {
      const client = await clientOf(connect(), 'n1');
      const held = await client.hold('db');
      const fill = (index: number) => etcd.ctl('put', `/other/${index}`, 'x'.repeat(120_000));
      for (let index = 0; (await fill(index)).code === 0; index += 1);
      await expectRefusal(
        () => client.enqueue('other'),
        /^etcd is out of space \(NOSPACE alarm\): compact/,
      );
      // Requests in one Txn must be refused, too, although etcd itself does not count nested puts.
      const together = ['a', 'b', 'c', 'd'].map((name) => client.enqueue(name));
      const outcomes = await Promise.allSettled(together);
      expect(outcomes.map(({ status }) => status)).toEqual(together.map(() => 'rejected'));
      // What needs no space, or frees some, still works.
      expect(await client.store.stands(held)).toBe(true);
      await client.store.remove(held);
      const request = client.request('db');
      const removal = { ...request, freesSpace: true };
      const granted = await client.store.enqueue(removal);
      expect(granted.state).toBe('granted');
      await client.store.remove(removal);
      expect(await client.store.tickets()).toEqual([]);
    });

    test('F8 say that a request is too large, however large it is', async () => {
      const client = await clientOf(connect(), 'n1');
      const held = await client.hold('db');
      const tooLarge = /^etcd refuses: the request is too large; /;
      // From a certain size on it is gRPC that refuses, before etcd has seen the request.
      for (const size of [1_600_000, 8_000_000]) {
        const value = 'x'.repeat(size);
        await expectRefusal(() => client.write(held, 'r', value), tooLarge);
      }
      await expectRefusal(() => client.enqueue('n'.repeat(1_600_000)), tooLarge);
    });

    test('name a foreign key below the prefix', async () => {
      const client = await clientOf(connect(), 'n1');
      const held = await client.hold('other');
      await etcd.ctlOk('put', '/berth/locks/db/x/scribble', 'not a ticket');
      const foreign = /^etcd holds something at \/berth\/locks\/db\/x\/scribble that berth did not/;
      await expectRefusal(() => client.tryEnqueue('db'), foreign);
      await expectRefusal(() => client.enqueue('db'), foreign);
      await expectRefusal(() => client.store.tickets('db'), foreign);
      // A list of all tickets skips the foreign key.
      expect((await client.store.tickets()).map(({ nonce }) => nonce)).toContain(held.nonce);
      await etcd.ctlOk('put', '/berth/locks/db2/z', '{}');
      await expectRefusal(() => client.tryEnqueue('db2'), /at \/berth\/locks\/db2\/z that berth/);
    });

    test('say that etcd does not answer', async () => {
      const store = connect();
      await etcd.kill();
      await expectRefusal(() => store.tickets(), /^etcd does not answer: /);
    });
  });
}
