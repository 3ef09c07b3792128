// `health()` of the etcd store: a real etcd with members that are killed, frozen or full; real
// time.
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { EtcdMember, EtcdOptions, MemberState } from '../../../../lib/etcd/client.ts';
import { EtcdClient, EtcdRefusedError } from '../../../../lib/etcd/client.ts';
import type { Condition } from '../../../../lib/lock/condition.ts';
import { conditionsOfMembers, faultsOf } from '../../../../lib/lock/stores/etcd/health.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import type { Etcd, EtcdOptions as ServerOptions } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { describeWith } from '../../../support/requirements.ts';
import { eventually } from '../../bench/store-bench.ts';

describeWith(['etcd'], 'the health of etcd', () => {
  let stack: AsyncDisposableStack;

  beforeEach(() => {
    stack = new AsyncDisposableStack();
  });
  afterEach(() => stack.disposeAsync());

  async function start(options: ServerOptions): Promise<Etcd> {
    return stack.use(await startEtcd(options));
  }

  function connect(etcd: Etcd, options: Partial<EtcdOptions> = {}): EtcdStore {
    const endpoints = etcd.endpoints.map((url) => new URL(url).host);
    return stack.use(new EtcdStore(new EtcdClient({ endpoints, ...options }), '/berth'));
  }

  /** Drops conditions about the version, which depends on what is installed. */
  function withoutVersions(conditions: readonly Condition[]): readonly Condition[] {
    return conditions.filter(({ message }) => !/; upgrade to /.test(message));
  }

  test('reports nothing but its version when all is well', async () => {
    const etcd = await start({ members: 3 });
    const store = connect(etcd);
    await eventually(async () => expect(withoutVersions(await store.health())).toEqual([]));
  });

  test.each(['3.4', '3.5'] as const)('names the known faults of etcd %s', async (version) => {
    const etcd = await start({ version });
    const host = etcd.endpoints.map((url) => new URL(url).host)[0];
    const [only, ...others] = await connect(etcd).health();
    const faults = {
      '3.4': 'no longer receives fixes, can end sessions',
      '3.5': 'can confirm sessions',
    };
    expect(others).toEqual([]);
    expect(only?.severity).toBe('warning');
    expect(only?.message).toMatch(
      new RegExp(`^etcd ${version}\\.\\d+ on m0 \\(${host}\\) ${faults[version]}.*; upgrade to 3`),
    );
  });

  test('names a member that is down, and a member that is frozen', async () => {
    const etcd = await start({ members: 3 });
    const store = connect(etcd);
    const hosts = etcd.endpoints.map((url) => new URL(url).host);
    await etcd.kill(2);
    await eventually(async () => {
      expect(withoutVersions(await store.health())).toEqual([
        {
          severity: 'warning',
          message: expect.stringMatching(`^etcd member ${hosts[2]} does not answer .*; start it`),
        },
      ]);
    });
    await etcd.restart(2);
    await eventually(async () => expect(withoutVersions(await store.health())).toEqual([]));
    etcd.pause(1);
    await eventually(async () => {
      const [frozen, ...others] = withoutVersions(await store.health());
      expect(frozen?.message).toMatch(`etcd member ${hosts[1]} does not answer`);
      expect(others).toEqual([]);
    }, 10_000);
    etcd.resume(1);
  });

  test('reports that too few members are left to elect a leader', async () => {
    const etcd = await start({ members: 3 });
    const store = connect(etcd, { callTimeoutMs: 1_000 });
    await etcd.kill(0);
    await etcd.kill(1);
    await eventually(async () => {
      const conditions = withoutVersions(await store.health());
      expect(conditions.map(({ severity }) => severity)).toEqual([
        'error',
        'warning',
        'warning',
        'error',
      ]);
      expect(conditions[0]?.message).toMatch(/^etcd at .* does not answer .*; start it/);
      expect(conditions[3]?.message).toMatch(/^etcd has no leader, as m2 \(.*start those that are/);
    }, 10_000);
  });

  test('reports an error when no member answers', async () => {
    const etcd = await start({});
    const store = connect(etcd);
    await etcd.kill();
    expect(await store.health()).toEqual([
      {
        severity: 'error',
        message: expect.stringMatching(/^etcd at .* does not answer .*; start/),
      },
    ]);
  });

  test("reports an error when etcd refuses berth's user", async () => {
    const etcd = await start({});
    await etcd.ctlOk('user', 'add', 'root', '--new-user-password', 'secret');
    await etcd.ctlOk('user', 'grant-role', 'root', 'root');
    await etcd.ctlOk('user', 'add', 'berth', '--new-user-password', 'quay');
    await etcd.ctlOk('auth', 'enable');
    const store = connect(etcd, { auth: { user: 'berth', password: 'quay' } });
    // The first login takes etcd long on a busy machine.
    await eventually(async () =>
      expect(withoutVersions(await store.health())).toEqual([
        { severity: 'error', message: expect.stringMatching(/^etcd refuses: .*permission denied/) },
      ]),
    );
  });

  test.each(['3.4', '3.5'] as const)(
    'warns before etcd %s is full, and reports an error when it is full',
    async (version) => {
      const etcd = await start({ version, flags: ['--quota-backend-bytes', '8000000'] });
      const store = connect(etcd);
      expect(withoutVersions(await store.health())).toEqual([]);
      const [endpoint = ''] = etcd.endpoints.map((url) => new URL(url).host);
      const client = new EtcdClient({ endpoints: [endpoint] });
      stack.defer(() => client.close());
      const fill = (index: number) => {
        const put = { key: Buffer.from(`/other/${index}`), value: Buffer.alloc(250_000, 'x') };
        return client.txn({ compare: [], success: [{ request_put: put }], failure: [] });
      };
      const nearly =
        /^the database of etcd member m0 \(.*\) has reached \d+ % of its quota; .*--auto/;
      let index = 0;
      await eventually(async () => {
        await fill(index++);
        const warnings = withoutVersions(await store.health());
        expect(warnings).toEqual([{ severity: 'warning', message: expect.stringMatching(nearly) }]);
      }, 15_000);
      const fillUp = async () => {
        for (;;) await fill(index++);
      };
      await expect(fillUp()).rejects.toThrow(EtcdRefusedError);
      const [full] = withoutVersions(await store.health());
      expect(full?.severity).toBe('error');
      expect(full?.message).toMatch(/^the database of etcd member m0 is full .*alarm disarm"$/);
    },
  );

  test('works over TLS', async () => {
    const etcd = await start({ tls: true, flags: ['--quota-backend-bytes', '20000'] });
    const files = etcd.tls;
    if (!files) throw new Error('no certificates');
    const [ca, cert, key] = await Promise.all(
      [files.ca, files.cert, files.key].map((path) => readFile(path)),
    );
    const conditions = withoutVersions(await connect(etcd, { tls: { ca, cert, key } }).health());
    expect(conditions.map(({ message }) => message.replace(/\d+ %/, 'n %'))).toEqual([
      expect.stringMatching(/has reached n % of its quota/),
    ]);
  });
});

test('the health of etcd names members that lag, have no leader or report errors', () => {
  const state: MemberState = {
    id: '1',
    cluster: '7',
    leader: '1',
    version: '3.6.10',
    databaseBytes: 1_000,
    usedBytes: 900,
    quotaBytes: 10_000,
    applied: 50_000,
    errors: [],
  };
  const members = (...states: Partial<MemberState>[]): EtcdMember[] =>
    states.map((more, index) => ({
      endpoint: `n${index}:2379`,
      state: { ...state, id: `${index}`, ...more },
    }));
  const names = new Map([['1', 'one']]);
  const messagesOf = (...states: Partial<MemberState>[]) =>
    conditionsOfMembers(members(...states), names).map(({ message }) => message);
  expect(messagesOf({}, { applied: 48_100 }, {})).toEqual([]);
  expect(messagesOf({}, { applied: 47_000 }, {})).toEqual([
    'etcd member one (n1:2379) is 3000 entries behind the others; give it a faster disk or more processor time',
  ]);
  expect(messagesOf({}, { leader: '0', errors: ['etcdserver: no leader'] }, {})).toEqual([
    'etcd member one (n1:2379) has no leader; repair the network between it and the other members',
  ]);
  expect(messagesOf({ errors: ['memberID:1 alarm:NOSPACE ', 'disk is slow'] })).toEqual([
    'etcd member n0:2379 reports "disk is slow"; see its log',
  ]);
  expect(messagesOf({ databaseBytes: 8_100, usedBytes: 7_000 })[0]).toMatch(
    /81 % of its quota; compact and defragment it/,
  );
  expect(messagesOf({ databaseBytes: 8_100, usedBytes: 10 })[0]).toMatch(
    /81 % of its quota; defragment/,
  );
  expect(messagesOf({ version: '3.5.20' }, {}, { version: '3.5.20' })).toEqual([
    'etcd 3.5.20 on n0:2379, n2:2379 can confirm sessions that it has ended; upgrade to 3.5.23 or later',
  ]);
});

test.each([
  ['3.3.27', 4],
  ['3.4.23', 4],
  ['3.4.37', 2],
  ['3.4.45', 1],
  ['3.5.0-rc.1', 3],
  ['3.5.16', 2],
  ['3.5.22', 1],
  ['3.5.23', 0],
  ['3.6.4', 1],
  ['3.6.5', 0],
  ['3.7.0', 0],
  ['4.0.0', 0],
])('etcd %s has %i known faults', (version, count) => {
  expect(faultsOf(version)).toHaveLength(count);
});
