import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { EtcdOptions } from '../../../../lib/etcd/client.ts';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { clientOf } from '../../bench/store-bench.ts';

for (const version of etcdVersions) {
  describeWith(['etcd'], `tells why etcd ${version} can't be used`, () => {
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
      const refused = call();
      await expect(refused).rejects.toThrow(StoreUnavailableError);
      await expect(refused).rejects.toThrow(message);
    }

    test('to a user who may not do it', async () => {
      await enableAuth();
      const client = await clientOf(connect({ user: 'berth', password: 'quay' }), 'n1');
      await expectRefusal(() => client.enqueue('db'), /^etcd refuses: .*permission denied; grant/);
      await expectRefusal(() => client.store.tickets(), /permission denied; grant/);
    });

    test('to a user with a wrong password, or with none', async () => {
      await enableAuth();
      const wrong = connect({ user: 'berth', password: 'wharf' });
      await expectRefusal(() => wrong.tickets(), /^etcd refuses: .*; check the user/);
      await expectRefusal(() => connect().tickets(), /^etcd refuses: .*; this etcd wants a user/);
    });

    test('to a user when it knows none', async () => {
      const store = connect({ user: 'berth', password: 'quay' });
      await expectRefusal(() => store.tickets(), /^etcd refuses: .*; leave the user out/);
    });

    test('when it has no space left', async () => {
      const client = await clientOf(connect(), 'n1');
      const held = await client.hold('db');
      const fill = (index: number) => etcd.ctl('put', `/other/${index}`, 'x'.repeat(120_000));
      for (let index = 0; (await fill(index)).code === 0; index += 1);
      await expectRefusal(
        () => client.enqueue('other'),
        /^etcd is out of space \(NOSPACE alarm\): compact/,
      );
      // Those that go in one transaction are counted as well: etcd itself does not.
      const together = ['a', 'b', 'c', 'd'].map((name) => client.enqueue(name));
      const outcomes = await Promise.allSettled(together);
      expect(outcomes.map(({ status }) => status)).toEqual(together.map(() => 'rejected'));
      // What needs no space still works, and what makes some.
      expect(await client.store.stands(held)).toBe(true);
      await client.store.remove(held);
      const request = client.request('db');
      const removal = { ...request, holder: { ...request.holder, reason: 'Remove' } };
      const granted = await client.store.enqueue(removal);
      expect(granted.state).toBe('granted');
      await client.store.remove(removal);
      expect(await client.store.tickets()).toEqual([]);
    });

    test('when somebody else has written below its prefix', async () => {
      const client = await clientOf(connect(), 'n1');
      const held = await client.hold('other');
      await etcd.ctlOk('put', '/berth/locks/db/x/scribble', 'not a ticket');
      const foreign = /^etcd holds something at \/berth\/locks\/db\/x\/scribble that berth did not/;
      await expectRefusal(() => client.tryEnqueue('db'), foreign);
      await expectRefusal(() => client.enqueue('db'), foreign);
      await expectRefusal(() => client.store.tickets('db'), foreign);
      // Whoever wants to know of all does not suffer for one.
      expect((await client.store.tickets()).map(({ nonce }) => nonce)).toContain(held.nonce);
      await etcd.ctlOk('put', '/berth/locks/db2/z', '{}');
      await expectRefusal(() => client.tryEnqueue('db2'), /at \/berth\/locks\/db2\/z that berth/);
    });

    test('when it is not there', async () => {
      const store = connect();
      await etcd.kill();
      await expectRefusal(() => store.tickets(), /^etcd does not answer: /);
    });
  });
}
