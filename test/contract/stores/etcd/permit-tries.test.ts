// A try for a permit while others take and release permits of the lock: a real etcd, and a client that lets others write
// before each of its own Txns.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EtcdCallError, EtcdClient } from '../../../../lib/etcd/client.ts';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Ticket } from '../../../../lib/lock/ticket.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import type { Client } from '../../bench/store-bench.ts';
import { clientOf, permit } from '../../bench/store-bench.ts';

/** The Txns of a try before it takes a place in the queue: the first one, and three repeats. */
const tries = 4;

/** Calls `before` with the count of the Txns that write, before each of them, and may lose an answer. */
class WatchedClient extends EtcdClient {
  writes = 0;
  before: (writes: number) => Promise<void> = async () => {};
  loses: (writes: number) => boolean = () => false;

  override async txn(...args: Parameters<EtcdClient['txn']>) {
    const [{ success = [] }] = args;
    if (!success.some(({ request_put }) => request_put)) return super.txn(...args);
    this.writes += 1;
    const count = this.writes;
    await this.before(count);
    const answer = await super.txn(...args);
    if (this.loses(count)) throw new EtcdCallError('the answer was lost');
    return answer;
  }
}

describeWith(['etcd'], 'a try for a permit that others take and release all the time', () => {
  let etcd: Etcd;
  let stack: AsyncDisposableStack;
  let watched: WatchedClient;
  let one: Client;
  let others: Client;
  let held: Ticket;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    etcd = stack.use(await startEtcd());
    watched = new WatchedClient({ endpoints: addressesOf(etcd) });
    one = await clientOf(stack.use(new EtcdStore(watched, '/berth')), 'n1');
    const client = new EtcdClient({ endpoints: addressesOf(etcd) });
    others = await clientOf(stack.use(new EtcdStore(client, '/berth')), 'n2');
    held = await others.hold(permit('pool'));
    watched.writes = 0;
    watched.before = handOver;
  });
  afterEach(() => stack.disposeAsync());

  /** One of two permits is always held, each time by a newer ticket. */
  async function handOver(): Promise<void> {
    const next = await others.hold(permit('pool'));
    await others.store.remove(held);
    held = next;
  }

  /** Takes the last permit by others right before the request takes its place in the queue. */
  function fillBeforeQueue(): { last?: Ticket } {
    const filled: { last?: Ticket } = {};
    watched.before = async (writes) => {
      if (writes <= tries) await handOver();
      else filled.last ??= await others.hold(permit('pool'));
    };
    return filled;
  }

  function claiming() {
    const request = one.request(permit('pool'));
    return { ...request, claim: { key: `claims/${request.nonce}`, value: 'n1' } };
  }

  test('gets the free permit', async () => {
    const answer = await one.store.tryEnqueue(claiming());
    expect(answer).toMatchObject({ state: 'granted' });
    expect(watched.writes).toBe(tries + 1);
    expect(await others.store.tickets('pool')).toHaveLength(2);
    expect(await others.store.records('claims/')).toHaveLength(1);
  });

  test('is refused when the last permit goes before its place in the queue, and leaves nothing', async () => {
    const filled = fillBeforeQueue();
    const answer = await one.store.tryEnqueue(claiming());
    const standing = [held, filled.last];
    expect(watched.writes).toBe(tries + 1);
    expect(answer).toEqual({ state: 'refused', blockers: standing });
    expect(await others.store.tickets()).toEqual(standing);
    expect(await others.store.records('claims/')).toEqual([]);
    await others.store.remove(held);
    expect(await one.tryEnqueue(permit('pool'))).toMatchObject({ state: 'granted' });
  });

  test('leaves nothing when it is repeated after a lost answer', async () => {
    const filled = fillBeforeQueue();
    watched.loses = (writes) => writes > tries;
    const request = claiming();
    await expect(one.store.tryEnqueue(request)).rejects.toThrow(StoreUnavailableError);
    watched.loses = () => false;
    const standing = [held, filled.last];
    expect(await others.store.tickets()).toHaveLength(3);
    const repeat = await one.store.tryEnqueue(request);
    expect(repeat).toEqual({ state: 'refused', blockers: standing });
    expect(await others.store.tickets()).toEqual(standing);
    expect(await others.store.records('claims/')).toEqual([]);
  });
});
