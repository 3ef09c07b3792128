// How an operator clears the lock of a living host: a memory store and a manual clock.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { StoreMirror } from '../../../../../lib/lock/engine/store-mirror.ts';
import { LockClearRefusedError } from '../../../../../lib/lock/errors.ts';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../../../lib/lock/ticket.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { systemClock } from '../../../../../lib/running/clock.ts';
import { never } from '../../../../../lib/running/never.ts';
import { Evictions } from '../../../../../lib/volumes/mounts/evictions.ts';
import { Catalog, mountMarkKey } from '../../../../../lib/volumes/records/catalog.ts';
import { eventually } from '../../../../support/eventually.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

/** Counts how often somebody goes through all records. */
class CountingMirror extends StoreMirror {
  scans = 0;

  override records() {
    this.scans += 1;
    return super.records();
  }
}

const limitMs = 11_000;

let resources: AsyncDisposableStack;
let store: TicketStore;
let mirror: CountingMirror;
let clock: ManualClock;
let evictions: Evictions;
/** The volumes that the host of `evictions` was asked to give up. */
let evicted: string[];
let evict: (volume: string, token: number) => Promise<void>;
let ticket: Ticket;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  const shared = memoryState(systemClock());
  store = memoryStore({ shared });
  const manager = new LockManager({ store, host: 'h', owner: 'h', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 0);
  const options = { signal: never, mark: mountMarkKey('v'), onChange: () => {} };
  ({ ticket } = await locks.acquireWithTTLRefresh(UseMount('v', 'mount'), options));
  mirror = resources.use(new CountingMirror(store));
  clock = new ManualClock();
  evicted = [];
  evict = async () => {};
  evictions = new Evictions({
    ...{ locks, store, mirror, clock, host: 'h', limitMs },
    catalog: new Catalog(mirror, store),
    recovery: {
      evict: async (volume, token, by) => {
        evicted.push(`${volume} ${token}: ${by}`);
        await evict(volume, token);
      },
    },
  });
  resources.use(evictions.follow());
  await mirror.firstReset;
  await eventually(() => expect(mirror.ticket(ticket.nonce)).toBeDefined());
});

afterEach(() => resources.disposeAsync());

const write = async (key: string, value: string | undefined) => {
  await store.commit({ guards: [], writes: [{ key, value }], release: [] });
  await eventually(() => expect(mirror.record(key)?.value).toBe(value));
};

test('events about other records cause no scan of all records', async () => {
  const before = mirror.scans;
  for (let number = 1; number <= 20; number += 1) await write('volumes/w', `${number}`);
  expect(mirror.scans).toBe(before);
  expect(evicted).toEqual([]);
});

test('a host gives up a volume on request, and retries until the request is gone', async () => {
  const asked = { volume: 'v', token: 7, by: 'other', nonce: 'n' };
  const one = 'v 7: an operator on host other';
  await write('evictions/v', JSON.stringify(asked));
  await eventually(() => expect(evicted).toEqual([one]));
  await write('volumes/w', 'changed');
  await eventually(() => expect(evicted).toEqual([one, one]));
  await write('evictions/v', undefined);
  await write('volumes/w', 'changed again');
  expect(evicted).toEqual([one, one]);
});

test('a living holder is asked first, and keeps its ticket until it has given up the volume', async () => {
  const request = { volume: 'v', token: ticket.token, signal: never };
  await expect(evictions.clearLock({ ...request, force: false })).rejects.toThrow(
    LockClearRefusedError,
  );
  expect(await store.record(mountMarkKey('v'))).toMatchObject({ value: ticket.nonce });

  evict = () => store.remove(ticket);
  expect(await evictions.clearLock({ ...request, force: true })).toEqual(ticket);
  expect(evicted[0]).toBe(`v ${ticket.token}: an operator on host h`);
  expect(await store.tickets('mount/v')).toEqual([]);
  expect(await store.record('evictions/v')).toBeUndefined();
  // Its session may have ended before it has answered: it must not re-acquire the lock.
  expect((await store.record(mountMarkKey('v')))?.value).toMatch(/^cleared /);
});

test('the mark of another host that waits for the volume stays', async () => {
  const other = new LockManager({ store, host: 'w', owner: 'w', ttlMs: 30_000 });
  resources.use(other);
  const waiting = new LockDriver(other, 60_000).acquireWithTTLRefresh(UseMount('v', 'mount'), {
    ...{ signal: never, mark: mountMarkKey('v'), onChange: () => {} },
  });
  await eventually(() => expect(mirror.ticketsOn('mount/v')).toHaveLength(2));
  evict = () => store.remove(ticket);
  await evictions.clearLock({ volume: 'v', token: ticket.token, force: true, signal: never });
  const next = await waiting;
  expect(await store.record(mountMarkKey('v'))).toMatchObject({ value: next.ticket.nonce });
});

test('an operator who leaves before the holder has answered changes nothing', async () => {
  const left = new AbortController();
  const request = { volume: 'v', token: ticket.token, force: true, signal: left.signal };
  const clearing = evictions.clearLock(request);
  await eventually(() => expect(clock.sleeping).toBe(1));
  expect((await store.record(mountMarkKey('v')))?.value).toMatch(/^cleared /);
  left.abort(new Error('the operator left'));
  await expect(clearing).rejects.toThrow('the operator left');
  expect(await store.record(mountMarkKey('v'))).toMatchObject({ value: ticket.nonce });
  expect(await store.tickets('mount/v')).toHaveLength(1);
});

test('a holder that does not give up in time loses its ticket and its mount mark', async () => {
  const clearing = evictions.clearLock({
    ...{ volume: 'v', token: ticket.token, force: true, signal: never },
  });
  await eventually(() => expect(clock.sleeping).toBe(1));
  await clock.pass(limitMs - 1);
  expect(await store.tickets('mount/v')).toHaveLength(1);
  await clock.pass(1);
  await clearing;
  expect(await store.tickets('mount/v')).toEqual([]);
  expect((await store.record(mountMarkKey('v')))?.value).toMatch(/^cleared /);
  expect(await store.record('evictions/v')).toBeUndefined();
});
