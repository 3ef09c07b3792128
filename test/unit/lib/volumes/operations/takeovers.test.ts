// Unclean ends on a memory store: which claims lead to a takeover, and what becomes of them.

import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import type { KeptLock } from '../../../../../lib/lock/use/kept-lock.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { never } from '../../../../../lib/running/never.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { DriverTakeover, VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import type { PutAside, TakeoverAbility } from '../../../../../lib/volumes/drivers/takeover.ts';
import { locks as table } from '../../../../../lib/volumes/operations/lock-table.ts';
import { claimKey, claimPrefix, claimText } from '../../../../../lib/volumes/records/claims.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import { EventLog } from '../../../../../plugin/events/event-log.ts';
import { eventually } from '../../../../support/eventually.ts';
import { hostTakeovers } from '../../../../support/host-takeovers.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const context = { signal: never };

const nothing = async () => {};

const record: VolumeRecord = {
  ...{ version: 1, name: 'db', driver: 'fake', options: {}, access: 'host', failover: 'auto' },
  ...{ onLost: 'pause', createdAt: '', createdBy: 'n1', snapshots: [], token: 1 },
};

let resources: AsyncDisposableStack;
let calls: string[];
let asides: PutAside[];
let ability: TakeoverAbility;
let hosts: Map<string, Host>;
/** Happen once, right before and right after a driver lists what was put aside. */
let beforeLook: () => Promise<void>;
let afterLook: () => Promise<void>;
/** Happens at the beginning of a takeover. */
let whileTaking: (signal: AbortSignal) => Promise<void>;

beforeEach(() => {
  resources = new AsyncDisposableStack();
  calls = [];
  asides = [];
  ability = 'at-once';
  hosts = new Map();
  beforeLook = afterLook = whileTaking = nothing;
  const state = memoryState();
  for (const name of ['n1', 'n2', 'n3']) {
    const store = memoryStore({ shared: state });
    const manager = new LockManager({ store, host: name, owner: name, ttlMs: 30_000 });
    resources.use(manager);
    hosts.set(name, host(name, store, manager));
  }
});

afterEach(async () => {
  await resources.disposeAsync();
});

type Host = ReturnType<typeof host>;

/** A host that mounts `db` as LockedVolumes does, with a driver that only records its takeovers. */
function host(name: string, store: TicketStore, manager: LockManager) {
  const takeover: DriverTakeover = {
    ability: async () => ability,
    takeOver: async (_, { host: former, mark }, { signal }) => {
      await whileTaking(signal);
      calls.push(`${name} takes over from ${former}`);
      const at = '2026-01-02T03:04:05Z';
      asides.push({ mark, host: former, token: 1, since: at, path: `/${mark}`, bytes: 1 });
    },
    putAside: async () => {
      const [before, after] = [beforeLook, afterLook];
      beforeLook = afterLook = nothing;
      await before();
      const seen = asides;
      await after();
      return seen;
    },
    discard: async (_, mark) => {
      calls.push(`${name} discards`);
      asides = asides.filter((aside) => aside.mark !== mark);
    },
  };
  const driver: VolumeDriver = { ...directoryDriver({ volumeDir: '/nowhere' }), takeover };
  const events = new EventLog();
  const clock = new ManualClock();
  const drivers = new Map([['fake', driver]]);
  const parts = hostTakeovers({ store, drivers, events, clock, host: name });
  const locks = new LockDriver(manager, 5_000);

  async function mount(of: VolumeRecord = record): Promise<KeptLock> {
    const value = claimText(parts.claimant, clock.date());
    const lock = await locks.acquireWithTTLRefresh(table.mount('db', 'host'), {
      ...{ signal: never, onChange: () => {}, read: 'volumes/db', readBelow: claimPrefix('db') },
      claim: { prefix: claimPrefix('db'), value },
    });
    try {
      await parts.takeovers.before(of, lock, context);
      return lock;
    } catch (error) {
      await lock.unlock({ claim: claimKey('db', lock.ticket.nonce) });
      throw error;
    }
  }
  const unmount = (lock: KeptLock) => lock.unlock({ claim: claimKey('db', lock.ticket.nonce) });
  /** Ends as a host whose lease expires, or whose lock an operator clears. */
  const vanish = (lock: KeptLock) => manager.breakLock(lock.ticket);
  return { ...parts, events, mount, unmount, vanish };
}

function at(name: string): Host {
  const found = hosts.get(name);
  if (!found) throw new Error(`no host ${name}`);
  return found;
}

test('a clean end leads to no takeover and leaves no claim', async () => {
  await at('n1').unmount(await at('n1').mount());
  const lock = await at('n2').mount();
  await at('n2').unmount(lock);
  expect(calls).toEqual([]);
  expect(await at('n3').claims.of('db')).toEqual([]);
});

test('the host after an unclean end takes the volume over once; what was put aside goes when the former host lets go', async () => {
  const lost = await at('n1').mount();
  await at('n1').vanish(lost);
  const second = await at('n2').mount();
  expect(calls).toEqual(['n2 takes over from n1']);
  expect(await at('n2').claims.of('db')).toMatchObject([
    { host: 'n1', token: lost.token, takenOver: { how: 'storage', by: 'n2' } },
    { host: 'n2' },
  ]);
  await at('n2').unmount(second);
  const third = await at('n3').mount();
  expect(calls).toEqual(['n2 takes over from n1']);
  await at('n1').claims.release('db', lost.ticket.nonce);
  await at('n3').takeovers.settle(record);
  expect(calls).toEqual(['n2 takes over from n1', 'n3 discards']);
  expect(
    at('n3')
      .events.since(0)
      .map(({ kind, severity }) => `${kind} ${severity}`),
  ).toEqual(['aside info']);
  await at('n3').unmount(third);
  expect(await at('n3').claims.of('db')).toEqual([]);
});

test('what a former host wrote after the takeover is kept and named once', async () => {
  await at('n1').vanish(await at('n1').mount());
  await at('n2').mount();
  asides = asides.map((aside) => ({ ...aside, writtenAt: '2026-01-02T03:05:00Z' }));
  const [claim] = await at('n2').claims.of('db');
  await at('n1').claims.release('db', claim?.mark ?? '');
  await at('n2').takeovers.settle(record);
  await at('n2').takeovers.settle(record);
  expect(calls).toEqual(['n2 takes over from n1']);
  const messages = at('n2')
    .events.since(0)
    .filter(({ kind }) => kind === 'aside');
  expect(messages).toMatchObject([{ severity: 'warning', message: expect.stringContaining('/') }]);
});

test('what a former host wrote while another one looked is kept, although that host has let go since', async () => {
  const lost = await at('n1').mount();
  await at('n1').vanish(lost);
  await at('n2').mount();
  afterLook = async () => {
    asides = asides.map((aside) => ({ ...aside, writtenAt: '2026-01-02T03:05:00Z' }));
    await at('n1').claims.release('db', lost.ticket.nonce);
  };
  await at('n2').takeovers.settle(record);
  expect(calls).toEqual(['n2 takes over from n1']);
});

test('a host that stood still and lost the volume deletes nothing of its own that was put aside since', async () => {
  const { promise: looked, resolve } = Promise.withResolvers<void>();
  const { promise: granted, resolve: go } = Promise.withResolvers<KeptLock>();
  beforeLook = async () => {
    await at('n1').vanish(await granted);
    await at('n2').mount();
    resolve();
  };
  go(await at('n1').mount());
  await looked;
  await at('n2').takeovers.settle(record); // It reads the store, so the other is done by then.
  expect(calls).toEqual(['n2 takes over from n1']);
});

test('a Mount waits no longer for a takeover from a host that has let go, or of which an operator says so', async () => {
  const lost = await at('n1').mount();
  await at('n1').vanish(lost);
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  whileTaking = async (signal) => {
    resolve();
    await once(signal, 'abort');
    signal.throwIfAborted();
  };
  const mounting = at('n2').mount();
  await begun;
  await at('n3').claims.release('db', lost.ticket.nonce);
  at('n2').takeovers.noteRelease('db', claimKey('db', lost.ticket.nonce) ?? '');
  await at('n2').unmount(await mounting);
  expect(calls).toEqual([]);
  expect(await at('n3').claims.of('db')).toEqual([]);
});

test("a host's own unclean end is none for itself, and its old claim goes", async () => {
  await at('n1').vanish(await at('n1').mount());
  const again = await at('n1').mount();
  expect(calls).toEqual([]);
  expect(await at('n1').claims.of('db')).toMatchObject([{ mark: again.ticket.nonce }]);
});

test('a host that waits, and gives up or is next, has ended nothing uncleanly', async () => {
  const first = await at('n1').mount();
  const waiting = at('n2').mount();
  await eventually(async () => expect(await at('n1').claims.of('db')).toHaveLength(2));
  const behind = at('n3').mount();
  await eventually(async () => expect(await at('n1').claims.of('db')).toHaveLength(3));
  await at('n1').unmount(first);
  await at('n2').unmount(await waiting);
  await behind;
  expect(calls).toEqual([]);
});

test('fencing=host and a pool without clones lead to no takeover; fencing=storage copies there', async () => {
  ability = 'full-copy';
  for (const name of ['n1', 'n2']) await at(name).vanish(await at(name).mount());
  await at('n3').vanish(await at('n3').mount({ ...record, fencing: 'host' }));
  expect(calls).toEqual([]);
  await at('n1').mount({ ...record, fencing: 'storage' });
  expect(calls).toEqual(['n1 takes over from n2', 'n1 takes over from n3']);
});

test('fencing=storage without a way is refused at Create, and at a Mount after an unclean end', async () => {
  const plain = { ...record, driver: 'other', fencing: 'storage' as const };
  await expect(at('n1').fencing.require(plain)).rejects.toThrow(/fencing=storage is not possible/);
  await expect(at('n1').fencing.require({ ...record, fencing: 'storage' })).resolves.toBe(
    undefined,
  );
  await at('n1').vanish(await at('n1').mount());
  await expect(at('n2').mount(plain)).rejects.toThrow(/host n1 did not unmount it/);
  expect(await at('n3').claims.of('db')).toMatchObject([{ host: 'n1' }]);
});
