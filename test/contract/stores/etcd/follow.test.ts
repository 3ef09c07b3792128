// How the watch goes on after a break: a real etcd behind a proxy that cuts connections, real time.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { EtcdCallError, EtcdClient } from '../../../../lib/etcd/client.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import type { TcpProxy } from '../../../support/tcp-proxy.ts';
import { startTcpProxy } from '../../../support/tcp-proxy.ts';
import { etcdVersions } from '../../../support/tools.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import type { Client } from '../../bench/store-bench.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';

/** A client that records the pages that it reads, and gets no answer in time to large ones. */
class SlowClient extends EtcdClient {
  /** The first key, the revision and the time limit of each page that was answered. */
  readonly pages: { readonly from: string; readonly revision: number; readonly limitMs: number }[] =
    [];
  /** The largest page that etcd answers in time. */
  mostKeys = Number.POSITIVE_INFINITY;
  /** The pages whose answers are lost, by their number. */
  readonly lost = new Set<number>();
  #asked = 0;

  override async range(
    ...[request, limitMs = this.callTimeoutMs]: Parameters<EtcdClient['range']>
  ) {
    if (!request.range_end) return await super.range(request, limitMs);
    this.#asked += 1;
    if (Number(request.limit) > this.mostKeys) throw new EtcdCallError('4 DEADLINE_EXCEEDED');
    const page = await super.range(request, limitMs);
    if (this.lost.has(this.#asked)) throw new EtcdCallError('14 UNAVAILABLE');
    const revision = Number(request.revision ?? 0);
    this.pages.push({ from: request.key?.toString() ?? '', revision, limitMs });
    return page;
  }
}

for (const version of etcdVersions) {
  describeWith(['etcd'], `after a break of the watch on etcd ${version}`, () => {
    let stack: AsyncDisposableStack;
    let etcd: Etcd;
    let proxy: TcpProxy;
    let watching: SlowClient;
    let store: EtcdStore;
    let mirror: StoreMirror;
    let other: Client;

    /** True if this release of etcd says when a watch has caught up. */
    const tells = version !== '3.4';
    let prefix: string;
    let tests = 0;

    beforeAll(async () => {
      etcd = await startEtcd({ version });
    });
    afterAll(() => etcd.stop());
    beforeEach(async () => {
      stack = new AsyncDisposableStack();
      tests += 1;
      prefix = `/test${tests}`;
      proxy = stack.use(await startTcpProxy(addressesOf(etcd)[0] ?? ''));
      watching = new SlowClient({ endpoints: [proxy.address] });
      store = stack.use(new EtcdStore(watching, prefix));
      const direct = new EtcdClient({ endpoints: addressesOf(etcd) });
      other = await clientOf(stack.use(new EtcdStore(direct, prefix)), 'other');
      mirror = new StoreMirror();
    });
    afterEach(() => stack.disposeAsync());

    const isTold = (event: StoreMirror['events'][number], times = 1) =>
      eventually(() => expect(mirror.events.filter((each) => each === event)).toHaveLength(times));

    /** Follows the store, and waits for the first report. */
    async function follow(): Promise<void> {
      stack.use(store.watch(mirror));
      await isTold('reset');
    }

    async function breakWatch(): Promise<void> {
      await proxy.cut();
      await eventually(() => expect(mirror.events.at(-1)).toBe('interrupted'));
    }

    /** The events so far; each attempt that fails tells of the interruption again. */
    const events = () =>
      mirror.events.filter(
        (event, at) => event !== 'interrupted' || mirror.events[at - 1] !== 'interrupted',
      );

    test('it goes on from the last revision, without reading what is known', async () => {
      const removed = await other.hold('removed');
      const kept = await other.hold('kept');
      await follow();
      await other.write(kept, 'before', 'value');
      await isTold('change');
      const pages = watching.pages.length;
      await breakWatch();
      await other.store.remove(removed);
      const queued = await other.queue('kept');
      const revision = await other.write(kept, 'during', 'value');
      await proxy.suffer('none');
      await (tells ? isTold('resumed') : isTold('reset', 2));
      expect(events()).toEqual([
        ...['reset', 'change', 'interrupted'],
        ...(tells ? ['change', 'change', 'change', 'resumed'] : ['reset']),
      ]);
      expect(mirror.tickets).toEqual([kept, queued]);
      expect(mirror.records.map(({ key }) => key)).toEqual(['before', 'during']);
      expect(mirror.revision).toBe(revision);
      expect(watching.pages).toHaveLength(tells ? pages : pages + 1);
      await other.write(kept, 'after', 'value');
      await eventually(() => expect(mirror.records).toHaveLength(3));
      expect(mirror.faults).toEqual([]);
    });

    // A release that tells its progress too early is read again as a whole each time (above).
    if (tells) {
      test('it goes on when nothing has changed', async () => {
        await follow();
        await breakWatch();
        await proxy.suffer('none');
        await isTold('resumed');
        await breakWatch();
        await proxy.suffer('none');
        await isTold('resumed', 2);
        expect(events()).toEqual(['reset', 'interrupted', 'resumed', 'interrupted', 'resumed']);
      });
    }

    test('it reads everything again if etcd has compacted what was missed', async () => {
      const removed = await other.hold('removed');
      const kept = await other.hold('kept');
      await follow();
      await breakWatch();
      await other.write(kept, 'key', 'value');
      await other.store.remove(removed);
      // The deletion is at the compacted revision, which some releases of etcd do not report.
      await etcd.ctlOk('compact', String(await etcd.revision()));
      await proxy.suffer('none');
      await isTold('reset', 2);
      expect(mirror.tickets).toEqual([kept]);
      expect(mirror.records).toHaveLength(1);
      expect(mirror.events).not.toContain('resumed');
    });

    if (tells) {
      test('a watch that is at the compacted revision goes on', async () => {
        const removed = await other.hold('removed');
        const kept = await other.hold('kept');
        await follow();
        await other.store.remove(removed);
        await isTold('change');
        await breakWatch();
        await etcd.ctlOk('compact', String(await etcd.revision()));
        const queued = await other.queue('kept');
        await proxy.suffer('none');
        await isTold('resumed');
        expect(mirror.tickets).toEqual([kept, queued]);
        expect(mirror.faults).toEqual([]);
      });
    }

    test('a page that comes too late becomes smaller, and no page is read twice', async () => {
      await addRecords(1_500);
      watching.mostKeys = 300;
      watching.lost.add(4).add(6);
      await follow();
      expect(mirror.records).toHaveLength(1_500);
      const [first, ...later] = watching.pages;
      expect(first).toMatchObject({ from: `${prefix}/`, revision: 0 });
      expect(new Set(later.map(({ from }) => from)).size).toBe(later.length);
      // All of one revision; each late page has doubled the time limit.
      expect(new Set(later.map(({ revision }) => revision))).toEqual(new Set([mirror.revision]));
      expect(later.map(({ limitMs }) => limitMs)).toEqual(later.map(() => 8_000));
      expect(later).toHaveLength(6);
    });

    async function addRecords(count: number): Promise<void> {
      const all = Array.from({ length: count }, (_, index) => ({
        key: `volumes/${index}`,
        value: `${index}`,
      }));
      for (let first = 0; first < count; first += 100) {
        const writes = all.slice(first, first + 100);
        await other.store.commit({ guards: [], writes, release: [] });
      }
    }
  });
}
