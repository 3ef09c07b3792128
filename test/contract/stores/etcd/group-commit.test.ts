// The etcd store under concurrent requests that share a Txn: a real etcd, real time.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdCallError, EtcdClient } from '../../../../lib/etcd/client.ts';
import {
  GuardLostError,
  SessionGoneError,
  StoreUnavailableError,
} from '../../../../lib/lock/errors.ts';
import { isPermanent } from '../../../../lib/lock/permanent-session.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { manager, take } from '../../bench/manager-bench.ts';
import { Client, clientOf, enabled, eventually, shared } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';

/** A client that counts its Txns and can lose the answers. */
class CountingClient extends EtcdClient {
  txns = 0;
  losesAnswers = false;

  override async txn(...args: Parameters<EtcdClient['txn']>) {
    this.txns += 1;
    const answer = await super.txn(...args);
    if (this.losesAnswers) throw new EtcdCallError('the answer was lost');
    return answer;
  }
}

const names = Array.from({ length: 20 }, (_, index) => `db${index}`);

for (const version of etcdVersions) {
  describeWith(['etcd'], `group commit on etcd ${version}`, () => {
    let etcd: Etcd;
    let client: CountingClient;
    let store: EtcdStore;

    beforeEach(async () => {
      etcd = await startEtcd({ version });
      client = new CountingClient({ endpoints: etcd.endpoints.map((url) => new URL(url).host) });
      store = new EtcdStore(client, '/berth');
    });
    afterEach(async () => {
      await store[Symbol.asyncDispose]();
      await etcd.stop();
    });

    test('P6 grants and removes many requests for one shared lock in at most two Txns each', async () => {
      const n1 = await clientOf(store, 'n1');
      const before = client.txns;
      const answers = await Promise.all(names.map(() => n1.enqueue(shared('db'))));
      expect(answers.map(({ state }) => state)).toEqual(names.map(() => 'granted'));
      expect(client.txns - before).toBeLessThanOrEqual(2);
      const writer = await n1.queue('db');
      expect(await n1.tryEnqueue(shared('db'))).toMatchObject({ state: 'refused' });
      const waiting = client.txns;
      const [last, ...others] = answers;
      await Promise.all(others.map(({ ticket }) => store.remove(ticket)));
      expect(client.txns - waiting).toBeLessThanOrEqual(2);
      expect(await store.place(writer)).toMatchObject({
        state: 'waiting',
        blockers: [last?.ticket],
      });
      if (last) await store.remove(last.ticket);
      expect(await store.place(writer)).toEqual({ state: 'granted', ticket: writer });
      expect(await store.tickets()).toEqual([writer]);
    });

    test('takes, places, changes and removes many tickets in few Txns', async () => {
      const n1 = await clientOf(store, 'n1');
      const mirror = new StoreMirror();
      using _ = store.watch(mirror);
      const held = await Promise.all(names.map((name) => n1.hold(name)));
      expect(new Set(held.map(({ token }) => token)).size).toBe(2);
      const placed = await Promise.all(held.map((ticket) => store.place(ticket)));
      expect(placed).toEqual(held.map((ticket) => ({ state: 'granted', ticket })));
      expect(await Promise.all(held.map((ticket) => store.stands(ticket)))).not.toContain(false);
      const revisions = await Promise.all(
        held.map((ticket, index) => n1.write(ticket, `key${index}`, `${index}`, 0)),
      );
      for (const [index, revision] of revisions.entries()) {
        expect(await store.record(`key${index}`)).toMatchObject({ value: `${index}`, revision });
      }
      await eventually(() => expect(mirror.records).toHaveLength(names.length));
      await Promise.all(held.map((ticket) => store.remove(ticket)));
      expect(await store.tickets()).toEqual([]);
      await eventually(() => expect(mirror.tickets).toEqual([]));
      expect(mirror.faults).toEqual([]);
      expect(client.txns).toBeLessThan(5 * 3);
    });

    test('resolves each request whose answer was lost with its batch', async () => {
      const n1 = await clientOf(store, 'n1');
      const requests = names.map((name) => n1.request(name));
      client.losesAnswers = true;
      const lost = await Promise.allSettled(requests.map((request) => store.enqueue(request)));
      for (const outcome of lost) {
        expect(outcome).toMatchObject({ status: 'rejected' });
        if (outcome.status === 'rejected') {
          expect(outcome.reason).toBeInstanceOf(StoreUnavailableError);
        }
      }
      client.losesAnswers = false;
      const written = await store.tickets();
      expect(written).toHaveLength(names.length);
      const repeats = await Promise.all(requests.map((request) => store.enqueue(request)));
      const tickets = repeats.map((repeat) => enabled(repeat).ticket);
      expect(new Set(tickets.map(({ nonce }) => nonce))).toEqual(
        new Set(written.map(({ nonce }) => nonce)),
      );
      expect(await store.tickets()).toEqual(written);
      client.losesAnswers = true;
      await Promise.allSettled(requests.map((request) => store.remove(request)));
      client.losesAnswers = false;
      await Promise.all(requests.map((request) => store.remove(request)));
      expect(await store.tickets()).toEqual([]);
    });

    test('does nothing for a session that another process has resumed, in a Txn shared with others', async () => {
      const [n1, n2] = [await clientOf(store, 'n1'), await clientOf(store, 'n2')];
      const [a, b] = [await n1.hold('a'), await n2.hold('b')];
      const { endpoints } = etcd;
      const other = new EtcdClient({ endpoints: endpoints.map((url) => new URL(url).host) });
      await using heir = new EtcdStore(other, '/berth');
      const again = { ttlMs: 60_000, owner: 'n1', resumable: true, resume: n1.session };
      expect(await heir.openSession(again)).toMatchObject({ resumed: true });
      const late = names.map((name) => n1.enqueue(name));
      const removals = [store.remove(a), store.remove(b)];
      for (const outcome of await Promise.allSettled(late)) {
        if (outcome.status === 'fulfilled') throw new Error('the session was used');
        expect(outcome.reason).toBeInstanceOf(SessionGoneError);
      }
      await Promise.all(removals);
      expect(await store.tickets()).toEqual([a]);
    });

    test('rejects only the requests of a dead session in a shared Txn', async () => {
      const [n1, n2] = [await clientOf(store, 'n1'), await clientOf(store, 'n2')];
      const opened = client.txns;
      const held = await Promise.all(['a', 'b', 'c', 'd'].map((name) => n1.hold(name)));
      const [a, b, c, d] = held;
      if (!a || !b || !c || !d) throw new Error('no four tickets');
      await etcd.ctlOk('lease', 'revoke', BigInt(n2.session).toString(16));
      const dead = names.map((name) => n2.enqueue(name));
      const alive = [
        store.remove(a),
        store.place(b),
        n1.write(c, 'key', 'value'),
        store.commit({ guards: [], writes: [], release: [d] }),
      ];
      for (const outcome of await Promise.allSettled(dead)) {
        if (outcome.status === 'fulfilled') throw new Error('a dead session was accepted');
        expect(outcome.reason).toBeInstanceOf(SessionGoneError);
      }
      expect(await Promise.all(alive)).toMatchObject([
        undefined,
        { state: 'granted' },
        expect.any(Number),
        { revision: expect.any(Number) },
      ]);
      expect(await store.tickets()).toEqual([b, c]);
      expect(client.txns - opened).toBeLessThan(10);
    });

    test('never puts leased and permanent tickets into one Txn', async () => {
      const leased = await clientOf(store, 'n1');
      const request = { ttlMs: Number.POSITIVE_INFINITY, owner: 'n1', resumable: true };
      const permanent = new Client('n1', store, (await store.openSession(request)).id);
      client.txns = 0; // The first calls also look at the store's history.
      const first = leased.hold('first');
      const held = await Promise.all(
        names.map((name, index) => (index % 2 === 0 ? permanent : leased).hold(name)),
      );
      await first;
      const [one, other] = [permanent, leased].map(({ session }) =>
        held.filter((ticket) => ticket.session === session).map(({ token }) => token),
      );
      expect(new Set(one).isDisjointFrom(new Set(other))).toBe(true);
      expect(client.txns).toBe(3);
      await etcd.ctlOk('lease', 'revoke', BigInt(leased.session).toString(16));
      const left = await store.tickets();
      expect(left).toHaveLength(names.length / 2);
      expect(left.every(({ session }) => isPermanent(session))).toBe(true);
      await store.closeSession(permanent.session);
      expect(await store.tickets()).toEqual([]);
    });

    test('sends requests one by one when etcd refuses them together for its lower limits', async () => {
      await using small = await startEtcd({ version, flags: ['--max-txn-ops', '16'] });
      const endpoints = small.endpoints.map((url) => new URL(url).host);
      await using other = new EtcdStore(new EtcdClient({ endpoints }), '/berth');
      const n1 = await clientOf(other, 'n1');
      const held = await Promise.all(names.map((name) => n1.hold(name)));
      expect(new Set(held.map(({ token }) => token)).size).toBe(names.length);
      await Promise.all(held.map((ticket) => other.remove(ticket)));
      expect(await other.tickets()).toEqual([]);
      const locks = Array.from({ length: 20 }, (_, index) => `lock ${index}`);
      await expect(n1.enqueue(...locks)).rejects.toThrow(/too many operations.*--max-txn-ops/);
    });

    test('accepts or rejects each change by itself', async () => {
      const n1 = await clientOf(store, 'n1');
      const held = await Promise.all(names.map((name) => n1.hold(name)));
      const [gone, ...others] = held;
      if (!gone) throw new Error('no tickets');
      await store.remove(gone);
      const changes = [...others.slice(0, 5), gone, ...others.slice(5)].map((ticket) =>
        n1.write(ticket, `key of ${ticket.locks[0]?.name}`, `${ticket.nonce}`, 0),
      );
      const outcomes = await Promise.allSettled(changes);
      expect(outcomes.map(({ status }) => status)).toEqual(
        outcomes.map((_, index) => (index === 5 ? 'rejected' : 'fulfilled')),
      );
      await expect(changes[5]).rejects.toThrow(GuardLostError);
    });

    test('loses one of many locks that have the same token, and no other', async () => {
      await using n1 = manager(store, 'n1');
      await n1.open();
      const locks = await Promise.all(names.map((name) => take(n1, name)));
      const [first, second, ...others] = locks.slice(1);
      if (!first || !second) throw new Error('no locks');
      expect(second.token).toBe(first.token);
      await n1.breakLock(first.ticket);
      await eventually(() => expect(first.signal.aborted).toBe(true));
      for (const lock of [second, ...others]) {
        lock.throwIfLost();
        await lock.confirm();
      }
      await Promise.all(locks.map((lock) => lock.unlock()));
      expect(await store.tickets()).toEqual([]);
    });
  });
}
