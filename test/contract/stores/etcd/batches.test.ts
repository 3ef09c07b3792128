// `EtcdBatches`, the group commit of requests to etcd: a real etcd, real time.
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { ITxnRequest, ITxnResponse } from '../../../../lib/etcd/client.ts';
import { EtcdCallError, EtcdClient, LeaseGoneError } from '../../../../lib/etcd/client.ts';
import type { BatchRequest } from '../../../../lib/lock/stores/etcd/batches.ts';
import { EtcdBatches } from '../../../../lib/lock/stores/etcd/batches.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { etcdVersions } from '../../../support/tools.ts';

const patientMs = 10_000;

/** Batches on a real etcd, which record everything that they send. */
class Sender {
  readonly client: EtcdClient;
  readonly batches: EtcdBatches;
  /** The values that each Txn puts, in the order of the Txns. */
  readonly sent: string[][] = [];
  /** The time limit of each Txn, in the order of the Txns. */
  readonly limitsMs: number[] = [];
  /** Replacements for sending a Txn, by the number of the Txn, counted from 0. */
  readonly instead = new Map<
    number,
    (send: () => Promise<ITxnResponse>) => Promise<ITxnResponse>
  >();

  constructor(endpoints: readonly string[], timeoutMs: number) {
    this.client = new EtcdClient({ endpoints });
    this.batches = new EtcdBatches((txn, limitMs) => {
      const instead = this.instead.get(this.sent.length);
      this.sent.push(valuesOf(txn));
      this.limitsMs.push(limitMs);
      const send = () => this.client.txn(txn, limitMs);
      return instead ? instead(send) : send();
    }, timeoutMs);
  }

  /** Sends a request that puts `value`. */
  write(value: string, more: Partial<BatchRequest> = {}): Promise<ITxnResponse> {
    const lease = more.lease === undefined ? {} : { lease: more.lease };
    const put = { key: Buffer.from(value), value: Buffer.from(value), ...lease };
    const txn = { compare: [], success: [{ request_put: put }], failure: [] };
    return this.batches.send({ txn, touches: [value], ...more });
  }

  /** Does the same and returns the revision. */
  async put(value: string, more: Partial<BatchRequest> = {}): Promise<number> {
    const answer = await this.write(value, more);
    expect(answer.succeeded).toBe(true);
    return Number(answer.header.revision);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}

function valuesOf({ success = [] }: ITxnRequest): string[] {
  return success.flatMap(({ request_put, request_txn }) => {
    if (request_txn) return valuesOf(request_txn);
    return request_put?.value ? [request_put.value.toString()] : [];
  });
}

for (const version of etcdVersions) {
  describeWith(['etcd'], `batches on etcd ${version}`, () => {
    let etcd: Etcd;
    let sender: Sender;
    const connect = (timeoutMs: number) =>
      new Sender(
        etcd.endpoints.map((url) => new URL(url).host),
        timeoutMs,
      );

    beforeEach(async () => {
      etcd = await startEtcd({ version });
      sender = connect(patientMs);
    });
    afterEach(async () => {
      await sender[Symbol.asyncDispose]();
      await etcd.stop();
    });

    test('send a single request at once and unchanged', async () => {
      const txn = { compare: [], success: [{ request_range: { key: Buffer.from('a') } }] };
      const sent: ITxnRequest[] = [];
      const batches = new EtcdBatches((request, limitMs) => {
        sent.push(request);
        return sender.client.txn(request, limitMs);
      }, patientMs);
      const answer = batches.send({ txn, touches: ['a'] });
      expect(sent).toEqual([txn]);
      await answer;
      await pause(20);
      const next = batches.send({ txn, touches: ['a'] });
      expect(sent).toEqual([txn, txn]);
      await next;
    });

    test('send together the requests that arrive during a Txn, with one revision', async () => {
      const values = ['a', 'b', 'c', 'd'];
      const [first, ...others] = await Promise.all(values.map((value) => sender.put(value)));
      expect(sender.sent).toEqual([['a'], ['b', 'c', 'd']]);
      expect(new Set(others).size).toBe(1);
      expect(others[0]).toBe((first ?? 0) + 1);
      const { kvs } = await sender.client.range({
        key: Buffer.from('a'),
        range_end: Buffer.from('z'),
      });
      expect(kvs.map(({ value }) => value.toString())).toEqual(values);
    });

    test('send together the next requests of callers that were answered together', async () => {
      const rounds = 20;
      const workers = Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; round < rounds; round += 1) {
          await sender.put(`${worker}`);
          // More steps than lie between the store and the user of a lock.
          for (let step = 0; step < 50; step += 1) await undefined;
        }
      });
      await Promise.all(workers);
      expect(sender.sent.length).toBeLessThan(rounds + 4);
    });

    test('give each request its own answer', async () => {
      await sender.put('there');
      await pause(20);
      const isAbsent = (key: string): BatchRequest => ({
        touches: [key],
        txn: {
          compare: [
            { target: 'Create', result: 'Equal', create_revision: 0, key: Buffer.from(key) },
          ],
          success: [],
          failure: [{ request_range: { key: Buffer.from(key) } }],
        },
      });
      const keys = ['a', 'b', 'there', 'c'];
      const answers = await Promise.all(keys.map((key) => sender.batches.send(isAbsent(key))));
      expect(sender.sent).toHaveLength(3);
      expect(answers.map(({ succeeded }) => succeeded)).toEqual([true, true, false, true]);
      const found = answers[2]?.responses[0]?.response_range.kvs;
      expect(found?.map(({ value }) => value.toString())).toEqual(['there']);
      for (const { header } of answers) expect(Number(header.revision)).toBe(2);
    });

    test('never contain two requests for one name, and keep their order', async () => {
      const touch = (value: string, ...touches: string[]) => sender.put(value, { touches });
      const revisions = await Promise.all([
        touch('first', 'first'),
        touch('a1', 'a'),
        touch('a2 b1', 'a', 'b'),
        touch('b2', 'b'), // Must not overtake.
        touch('c1', 'c'),
        touch('a3', 'a'),
      ]);
      expect(sender.sent).toEqual([['first'], ['a1', 'c1'], ['a2 b1'], ['b2', 'a3']]);
      // After 100 ms without an answer the next Txn is sent, so a busy etcd may carry them out in another order.
      const [, a1, , b2, c1, a3] = revisions;
      expect([c1, a3]).toEqual([a1, b2]);
    });

    test('contain many reads of one name, but no read together with a change of it', async () => {
      const sent: number[] = [];
      const batches = new EtcdBatches((request, limitMs) => {
        sent.push(request.success?.length ?? 0);
        return sender.client.txn(request, limitMs);
      }, patientMs);
      const read = { request_range: { key: Buffer.from('db') } };
      const put = { request_put: { key: Buffer.from('db'), value: Buffer.from('x') } };
      const look = { txn: { compare: [], success: [read] }, touches: [], reads: ['db'] };
      const change = { txn: { compare: [], success: [put] }, touches: ['db'] };
      const answers = [change, look, look, look, change, look, look, change].map((request) =>
        batches.send(request),
      );
      const revisions = (await Promise.all(answers)).map(({ header }) => Number(header.revision));
      expect(sent).toEqual([1, 3, 1, 2, 1]);
      // A busy etcd may carry out the five Txns in another order, as above.
      const [first, look1, look2, look3, second, look4, look5, third] = revisions;
      expect([first, second, third].toSorted()).toEqual([2, 3, 4]);
      expect([look2, look3, look5]).toEqual([look1, look1, look4]);
    });

    test('P6 contain many writes that only read a name, and none that touches it', async () => {
      const write = (value: string, touches: string[], reads: string[]) =>
        sender.put(value, { touches, reads });
      await Promise.all([
        write('first', ['first'], []),
        write('s1', ['s1'], ['db']),
        write('s2', ['s2'], ['db']),
        write('x1', ['db'], []),
        write('s3', ['s3'], ['db']), // Must not overtake.
        write('s4', ['s4'], ['db']),
        write('x2', ['db'], []),
      ]);
      expect(sender.sent).toEqual([['first'], ['s1', 's2'], ['x1'], ['s3', 's4'], ['x2']]);
    });

    test('P6 contain what others of its session ask, beside a request that has to wait for one of them', async () => {
      const write = (value: string, lock: string) =>
        sender.put(value, { touches: [lock], reads: ['session'] });
      await Promise.all([
        write('first', 'first'),
        write('a1', 'a'),
        write('a2', 'a'),
        write('b1', 'b'),
        write('b2', 'b'),
      ]);
      expect(sender.sent).toEqual([['first'], ['a1', 'b1'], ['a2', 'b2']]);
    });

    test('compare once what many require, and ask one by one when it is not so', async () => {
      const state = Buffer.from('state');
      const isNew = { target: 'Create', result: 'Equal', key: state, create_revision: 0 } as const;
      const look = { request_range: { key: state } };
      const requires = [{ name: 'new', compare: isNew, look }];
      const write = (value: string, required = true) =>
        sender.write(value, required ? { requires } : {});
      const done = await Promise.all([write('first'), write('a'), write('b'), write('c', false)]);
      expect(done.map(({ succeeded }) => succeeded)).toEqual([true, true, true, true]);
      expect(sender.sent).toEqual([['first'], ['a', 'b', 'c']]);
      sender.sent.length = 0;
      await sender.write('state');
      const answers = await Promise.all([write('d'), write('e'), write('f'), write('g', false)]);
      expect(answers.map(({ succeeded }) => succeeded)).toEqual([false, false, false, true]);
      const found = answers.map(({ responses }) => responses[0]?.response_range?.kvs[0]?.key);
      expect(found).toEqual([state, state, state, undefined]);
      const freeing = await sender.write('h', { requires, freesSpace: true });
      expect(freeing).toMatchObject({ succeeded: false });
      const { kvs } = await sender.client.range({
        key: Buffer.from('a'),
        range_end: Buffer.from('z'),
      });
      expect(kvs.map(({ key }) => String(key))).toEqual(['a', 'b', 'c', 'first', 'g', 'state']);
    });

    test('with what their requests require are as large as etcd accepts', async () => {
      const key = Buffer.from('none');
      const compare = { target: 'Create', result: 'Equal', key, create_revision: 0 } as const;
      const requires = [{ name: 'none', compare }];
      const all = Array.from({ length: 1 + 126 + 1 }, (_, index) =>
        sender.put(`${index}`, { requires }),
      );
      await Promise.all(all);
      expect(sender.sent.map(({ length }) => length)).toEqual([1, 126, 1]);
    });

    test('never contain two leases', async () => {
      const one = await sender.client.leaseGrant(60);
      const two = await sender.client.leaseGrant(60);
      await Promise.all([
        sender.put('first'),
        sender.put('none'),
        sender.put('one', { lease: one.id }),
        sender.put('two', { lease: two.id }),
        sender.put('none too'),
        sender.put('one too', { lease: one.id }),
        sender.put('two too', { lease: two.id }),
      ]);
      expect(sender.sent).toEqual([
        ['first'],
        ['none', 'one', 'none too', 'one too'],
        ['two', 'two too'],
      ]);
    });

    test('are as large as etcd accepts, and no larger', async () => {
      const many = async (count: number, ops: number) => {
        await pause(20); // Now the first request is sent alone.
        await Promise.all(
          Array.from({ length: count }, (_, index) => {
            const touches = [`${count}.${ops}.${index}`];
            const success = Array.from({ length: ops }, (__, op) => ({
              request_put: { key: Buffer.from(`${touches}.${op}`), value: Buffer.from('v') },
            }));
            return sender.batches.send({ touches, txn: { compare: [], success, failure: [] } });
          }),
        );
      };
      const sizes = () => sender.sent.splice(0).map(({ length }) => length);
      await many(1 + 127 + 1, 1);
      expect(sizes()).toEqual([1, 127, 1]);
      await many(1 + 64 + 2, 64);
      expect(sizes()).toEqual([64, 64 * 64, 2 * 64]);
      await many(3, 128);
      expect(sizes()).toEqual([128, 128, 128]);
      // A Txn within a Txn counts as one more operation.
      const nested = (index: number): BatchRequest => ({
        touches: [`n${index}`],
        txn: {
          compare: [],
          success: Array.from({ length: 40 }, (_, op) => ({
            request_txn: {
              compare: [],
              success: Array.from({ length: 4 }, (__, deep) => ({
                request_put: {
                  key: Buffer.from(`n${index}.${op}.${deep}`),
                  value: Buffer.from('v'),
                },
              })),
              failure: [],
            },
          })),
          failure: [],
        },
      });
      await pause(20);
      await Promise.all(
        Array.from({ length: 1 + 84 + 1 }, (_, index) => sender.batches.send(nested(index))),
      );
      expect(sizes()).toEqual([160, 84 * 160, 160]);
    });

    test("stay below etcd's limit in bytes", async () => {
      const long = 'x'.repeat(200_000);
      const values = Array.from({ length: 12 }, (_, index) => `${index} ${long}`);
      await Promise.all(
        values.map((value, index) => {
          const put = { key: Buffer.from(`${index}`), value: Buffer.from(value) };
          const txn = { compare: [], success: [{ request_put: put }], failure: [] };
          return sender.batches.send({ txn, touches: [`${index}`] });
        }),
      );
      expect(sender.sent.map(({ length }) => length)).toEqual([1, 4, 4, 3]);
    });

    test('reject each of their requests when the answer is lost', async () => {
      sender.instead.set(1, async (send) => {
        await send();
        throw new EtcdCallError('the answer was lost');
      });
      const values = ['first', 'a', 'b'];
      const outcomes = await Promise.allSettled(values.map((value) => sender.put(value)));
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
      for (const outcome of outcomes.slice(1)) {
        expect(outcome).toMatchObject({ reason: { message: 'the answer was lost' } });
      }
      expect(sender.sent).toHaveLength(2);
      await sender.put('next');
    });

    test('are sent again without the requests of a lease that has ended', async () => {
      const { id } = await sender.client.leaseGrant(60);
      await sender.client.leaseRevoke(id);
      const values = [
        sender.put('first'),
        sender.put('a'),
        sender.put('dead', { lease: id }),
        sender.put('b'),
      ];
      const outcomes = await Promise.allSettled(values);
      expect(sender.sent).toEqual([['first'], ['a', 'dead', 'b'], ['a', 'b']]);
      expect(outcomes.map(({ status }) => status)).toEqual([
        'fulfilled',
        'fulfilled',
        'rejected',
        'fulfilled',
      ]);
      await expect(values[2]).rejects.toThrow(LeaseGoneError);
    });

    test('do not keep a request waiting long for a Txn that is not answered', async () => {
      const released = Promise.withResolvers<void>();
      sender.instead.set(2, async (send) => {
        await released.promise;
        return send();
      });
      // A short wait before this one must not matter.
      await Promise.all([sender.put('first'), sender.put('second')]);
      await pause(40);
      const stuck = sender.put('stuck');
      const others = ['a', 'b'].map((value) => sender.put(value));
      const startedAt = performance.now();
      await Promise.all(others);
      expect(performance.now() - startedAt).toBeLessThan(patientMs / 2);
      expect(sender.sent.slice(2)).toEqual([['stuck'], ['a', 'b']]);
      // The time spent waiting counts.
      expect(sender.limitsMs[3]).toBeLessThanOrEqual(patientMs - 50);
      released.resolve();
      await stuck;
    });

    test('do not keep a request waiting long behind others for its name', async () => {
      const released = Promise.withResolvers<void>();
      const hold = async (send: () => Promise<ITxnResponse>) => {
        await released.promise;
        return send();
      };
      const count = 50;
      for (let index = 0; index < count; index += 1) sender.instead.set(index, hold);
      const all = Array.from({ length: count }, (_, index) =>
        sender.put(`${index}`, { touches: ['db'] }),
      );
      await pause(300);
      expect(sender.sent).toHaveLength(count);
      released.resolve();
      await Promise.all(all);
    });

    test('reject a request to a frozen etcd when its own time limit has passed', async () => {
      await using hasty = connect(1_000);
      await hasty.put('awake');
      etcd.pause();
      const startedAt = performance.now();
      const lasted = [0, 50, 400].map(async (ms, index) => {
        await pause(ms);
        await expect(hasty.put(`${index}`)).rejects.toThrow(EtcdCallError);
        return performance.now() - startedAt - ms;
      });
      for (const ms of await Promise.all(lasted)) {
        expect(ms).toBeGreaterThan(950);
        expect(ms).toBeLessThan(1_900);
      }
      etcd.resume();
    });
  });
}
