// Operations that ask for room in one pool at one moment, on two hosts with real locks on one memory store, and on
// one host alone. The time is virtual; the pool answers when the test lets it.

import { setImmediate as settled } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import type { MemoryState } from '../../../../../lib/lock/stores/memory/state.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import { imageDriver } from '../../../../../lib/volumes/drivers/image/driver.ts';
import { PoolRoom } from '../../../../../lib/volumes/pools/pool-room.ts';
import { Promises } from '../../../../../lib/volumes/pools/promises.ts';
import { Catalog, recordWrite } from '../../../../../lib/volumes/records/catalog.ts';
import { recordSchema } from '../../../../../lib/volumes/volume.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const mib = 2 ** 20;
const poolMiB = 340;

let shared: MemoryState;
let hosts: AsyncDisposableStack;
let clock: ManualClock;

beforeEach(() => {
  shared = memoryState();
  hosts = new AsyncDisposableStack();
  clock = new ManualClock();
});

afterEach(async () => {
  await hosts.disposeAsync();
});

/** A pool that answers how much is free after `answers` has resolved, and tells that it was asked. */
function heldPool(answers: Promise<void> = Promise.resolve()) {
  const asked = Promise.withResolvers<void>();
  const local = imageDriver({ volumeDir: '/nowhere' });
  const space = async () => {
    asked.resolve();
    await answers;
    const bytes = poolMiB * mib;
    return {
      totalBytes: bytes,
      freeBytes: bytes,
      freeFiles: 1,
      sharesBlocks: false,
      isOnRoot: false,
    };
  };
  const occupied = async () => ({ volumeBytes: 0, snapshotsBytes: [] });
  const driver: VolumeDriver = { ...local, occupied, pool: { ...local.pool, space } };
  return { driver, asked: asked.promise };
}

function join(host: string, { isAlone = false } = {}) {
  const store = hosts.use(memoryStore({ shared }));
  const manager = hosts.use(new LockManager({ store, host, owner: host, ttlMs: 30_000 }));
  const { mirror } = manager;
  const catalog = new Catalog(mirror, store);
  const promises = isAlone ? undefined : new Promises({ mirror, store, clock, host });
  const room = new PoolRoom({ catalog, overcommit: 1, host, clock, promises });
  const recorded = async () => (await store.records('volumes/')).length;
  /** Creates a volume on a pool; its work ends when `work` does. */
  async function create(
    name: string,
    sizeMiB: number,
    { driver }: { driver: VolumeDriver },
    work?: Promise<void>,
  ) {
    const lock = await manager.lock([{ name: `mount/${name}`, mode: 'exclusive' }], {
      reason: 'Create',
    });
    await using _lock = lock;
    const bytes = sizeMiB * mib;
    await room.during(driver, bytes, lock, async (ends) => {
      await work;
      const record = recordSchema.parse({
        ...{ version: 1, name, driver: 'image', access: 'host', snapshots: [], token: lock.token },
        ...{ createdAt: '2026-01-02T03:04:05Z', createdBy: host },
        options: { size: String(bytes), fs: 'ext4' },
      });
      await lock.guard([recordWrite(record, 0), ...ends], { unlock: true });
    });
  }
  return { create, recorded };
}

const twoHosts = () => [join('n1'), join('n2')] as const;
function oneHost() {
  const alone = join('n1', { isAlone: true });
  return [alone, alone] as const;
}

const open = heldPool;

concurrentTests('on two hosts', twoHosts);
concurrentTests('on one host', oneHost);

function concurrentTests(where: string, make: typeof twoHosts): void {
  test(`${where}: a volume that is recorded while the pool is looked at counts once`, async () => {
    const [n1, n2] = make();
    const work = Promise.withResolvers<void>();
    const first = n1.create('a', 100, open(), work.promise);
    await settled();
    const answers = Promise.withResolvers<void>();
    const held = heldPool(answers.promise);
    const second = n2.create('b', 200, held);
    await held.asked;
    work.resolve();
    await first;
    answers.resolve();
    await second;
    expect(await n2.recorded()).toBe(2);
  });

  test(`${where}: one that is refused itself keeps no room from a later one`, async () => {
    const [n1, n2] = make();
    const answers = Promise.withResolvers<void>();
    const held = heldPool(answers.promise);
    const first = n1.create('a', 400, held);
    await held.asked;
    const second = n2.create('b', 200, open());
    await settled();
    answers.resolve();
    await expect(first).rejects.toThrow(/400 MiB more: 0 MiB are promised to volumes and 0 MiB/);
    await second;
    expect(await n2.recorded()).toBe(1);
  });

  test(`${where}: of two that do not fit together the later one is refused, with what is true then`, async () => {
    const [n1, n2] = make();
    const work = Promise.withResolvers<void>();
    const first = n1.create('a', 200, open(), work.promise);
    await settled();
    const second = n2.create('b', 200, open());
    await settled();
    work.resolve();
    await expect(second).rejects.toThrow(
      /has no room for 200 MiB more: 200 MiB are promised to volumes and .* so 140 MiB are left/,
    );
    await first;
    expect(await n2.recorded()).toBe(1);
  });

  test(`${where}: an earlier one that takes long is waited for 5 seconds, and then named`, async () => {
    const [n1, n2] = make();
    const work = Promise.withResolvers<void>();
    const first = n1.create('a', 200, open(), work.promise);
    await settled();
    let isRefused = false;
    const second = n2.create('b', 200, open()).catch((error) => {
      isRefused = true;
      return String(error);
    });
    await settled();
    await clock.pass(4_999);
    expect(isRefused).toBe(false);
    await clock.pass(1);
    expect(await second).toMatch(
      /0 MiB are promised to volumes, 200 MiB to operations that are under way, and/,
    );
    work.resolve();
    await first;
  });
}
