// A host that dies as it waits for a lock has never had the volume: its claim ends. Two hosts, and the
// locks of both, on a memory store.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { MirrorEvent } from '../../../../../lib/lock/engine/store-mirror.ts';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { KeptLock } from '../../../../../lib/lock/use/kept-lock.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { never } from '../../../../../lib/running/never.ts';
import { KeyedMutex } from '../../../../../lib/volumes/mounts/keyed-mutex.ts';
import { ClaimWatch } from '../../../../../lib/volumes/operations/claim-watch.ts';
import { locks as table } from '../../../../../lib/volumes/operations/lock-table.ts';
import {
  Claims,
  claimKey,
  claimPrefix,
  claimText,
} from '../../../../../lib/volumes/records/claims.ts';
import { eventually } from '../../../../support/eventually.ts';

const claimant = (host: string) => ({ owner: host, host, addresses: [], boot: 'boot' });

let resources: AsyncDisposableStack;
let claims: Claims;
let one: Host;
let two: Host;

beforeEach(() => {
  resources = new AsyncDisposableStack();
  const shared = memoryState();
  claims = new Claims(memoryStore({ shared }), 'n1');
  [one, two] = [host('n1', shared), host('n2', shared)];
});

afterEach(async () => {
  await resources.disposeAsync();
});

type Host = ReturnType<typeof host>;

/** A host that holds at most the lock of `db`, as its mount does. */
function host(name: string, shared: ReturnType<typeof memoryState>) {
  const manager = new LockManager({
    store: memoryStore({ shared }),
    ...{ host: name, owner: name, ttlMs: 30_000 },
  });
  resources.use(manager);
  const locks = new LockDriver(manager, 5_000);
  let held: KeptLock | undefined;
  const watch = new ClaimWatch({
    ...{ mirror: manager.mirror, claims, claimant: claimant(name), mutex: new KeyedMutex() },
    takeovers: { settle: async () => {}, noteRelease: () => {} },
    catalog: { get: () => undefined },
    mounts: { get: () => undefined, requireUnmounted: async () => {} },
    states: { get: () => undefined, lock: () => held },
  });
  resources.use(watch.follow());
  const value = claimText(claimant(name), new Date());
  const request = async () => {
    held = await locks.acquireWithTTLRefresh(table.mount('db', 'host'), {
      ...{ signal: never, onChange: () => {}, claim: { prefix: claimPrefix('db'), value } },
    });
    return held;
  };
  const tickets = () => manager.mirror.ticketsOn('mount/db');
  return { manager, request, tickets };
}

test('the holder deletes the claim of a host that died as it waited', async () => {
  const lock = await one.request();
  const waiting = two.request();
  waiting.catch(() => {}); // Its ticket is removed under it.
  await eventually(() => expect(one.tickets()).toHaveLength(2));
  await eventually(async () => expect(await claims.of('db')).toHaveLength(2));
  const ticket = one.tickets().find(({ owner }) => owner === 'n2');
  if (!ticket) throw new Error('n2 does not wait');
  await one.manager.breakLock(ticket); // As the store does when a lease expires.
  await eventually(async () => expect(await claims.of('db')).toMatchObject([{ host: 'n1' }]));
  await lock.unlock({ claim: claimKey('db', lock.ticket.nonce) });
});

test('a host that had the lock leaves its claim', async () => {
  const lock = await one.request();
  const next = two.request();
  await eventually(() => expect(one.tickets()).toHaveLength(2));
  await two.manager.breakLock(lock.ticket);
  await next;
  await eventually(() => expect(two.tickets()).toHaveLength(1));
  expect(await claims.of('db')).toMatchObject([{ host: 'n1' }, { host: 'n2' }]);
});

test.each(['while it watches', 'while the store is away'])(
  'the Mount that takes over hears that a claim has gone %s',
  (when) => {
    const released: string[] = [];
    const key = claimKey('db', 'mark-1') ?? '';
    let records = [{ key, value: claimText(claimant('n1'), new Date()), revision: 7 }];
    let tell: (event: MirrorEvent) => void = () => {};
    const watch = new ClaimWatch({
      mirror: {
        records: () => records.values(),
        ticket: () => undefined,
        listen: (listener) => {
          tell = listener;
          return { [Symbol.dispose]: () => {} };
        },
      },
      ...{ claims, claimant: claimant('n2'), mutex: new KeyedMutex() },
      takeovers: { settle: async () => {}, noteRelease: (_, gone) => released.push(gone) },
      catalog: { get: () => undefined },
      mounts: { get: () => undefined, requireUnmounted: async () => {} },
      states: { get: () => undefined, lock: () => undefined },
    });
    using _following = watch.follow();
    tell({ kind: 'reset' });
    expect(released).toEqual([]);
    records = [];
    const nothing = {
      revision: 8,
      tickets: [],
      removedTickets: [],
      records: [],
      closedGates: [],
      openedGates: [],
    };
    const change = { ...nothing, removedRecords: [key] };
    tell(when === 'while it watches' ? { kind: 'change', change } : { kind: 'reset' });
    expect(released).toEqual([key]);
    expect(watch.keysOf('db')).toEqual([]);
  },
);
