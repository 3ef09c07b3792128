// How the uses of a mounted volume are counted (docs/mount-accounting.md): a driver that mounts
// nothing in the kernel, a real mount table, locks in memory. Rows are those of that document.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import type { KeptLock } from '../../../../../lib/lock/use/kept-lock.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { never } from '../../../../../lib/running/never.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import { InUseError, UnavailableError } from '../../../../../lib/volumes/errors.ts';
import type { Mounts } from '../../../../../lib/volumes/mounts/mounts.ts';
import { Catalog } from '../../../../../lib/volumes/records/catalog.ts';
import type { Access } from '../../../../../lib/volumes/volume.ts';
import { recordSchema } from '../../../../../lib/volumes/volume.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const context = { signal: never };

let resources: AsyncDisposableStack;
let mounts: Mounts;
let drivers: Map<string, VolumeDriver>;
let lock: KeptLock;
/** The calls of the driver. */
let calls: string[];
/** The driver's next unmount fails. */
let isBusy: boolean;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  const { path } = resources.use(await makeTemporaryDirectory());
  const store = memoryStore();
  const manager = new LockManager({ store, host: 'h', owner: 'h', ttlMs: 30_000 });
  resources.use(manager);
  const locks = new LockDriver(manager, 0);
  calls = [];
  isBusy = false;
  const driver: VolumeDriver = {
    ...directoryDriver({ volumeDir: path }),
    mount: async () => {
      calls.push('mount');
    },
    unmount: async () => {
      if (isBusy) throw new InUseError('it is in use');
      calls.push('unmount');
    },
  };
  drivers = new Map([[driver.name, driver]]);
  const catalog = new Catalog(manager.mirror, store);
  ({ mounts } = resources.use(
    await hostMounts({ directory: path, locks, catalog, drivers, manager, owner: 'h' }),
  ));
  lock = await locks.acquireWithTTLRefresh(UseMount('v', 'mount'), {
    ...{ signal: never, onChange: () => {} },
  });
});

afterEach(() => resources.disposeAsync());

function record(access: Access) {
  const given = { version: 1, name: 'v', driver: 'directory', options: {}, access, snapshots: [] };
  const made = { createdAt: '2026-01-02T03:04:05Z', createdBy: 'h', token: 1 };
  return recordSchema.parse({ ...given, ...made });
}

function mount(id: string, access: Access = 'host'): Promise<string> {
  const row = mounts.get('v');
  return row ? mounts.use(row, id, context) : mounts.mount(record(access), id, lock, context);
}

async function unmount(id: string): Promise<void> {
  const row = mounts.get('v');
  if (row) await mounts.unuse(row, id);
}

/** The mount IDs with their counts, `?` behind an unconfirmed one. */
function uses(): string {
  return [...(mounts.get('v')?.mountIds ?? [])]
    .map(([id, { count, confirmed }]) => `${id}=${count}${confirmed ? '' : '?'}`)
    .join(' ');
}

/** The driver shows nothing in the kernel, so each further Mount asks it once more. */
const unmounts = () => calls.filter((call) => call === 'unmount').length;

test('row 1: two IDs are one mount, which ends with the last of them', async () => {
  await mount('a');
  await mount('b');
  expect(uses()).toBe('a=1 b=1');
  await unmount('a');
  expect([uses(), unmounts(), lock.state]).toEqual(['b=1', 0, 'held']);
  await unmount('b');
  expect([uses(), unmounts(), lock.state]).toEqual(['', 1, 'released']);
});

test('row 2: one ID counts each of its Mounts', async () => {
  await mount('a');
  await mount('a');
  expect(uses()).toBe('a=2');
  await unmount('a');
  expect([uses(), unmounts()]).toEqual(['a=1', 0]);
});

test('rows 4 and 5: a refused Unmount leaves its ID unconfirmed, and a Mount confirms it', async () => {
  await mount('a');
  isBusy = true;
  await expect(unmount('a')).rejects.toThrow(InUseError);
  expect([uses(), lock.state]).toEqual(['a=1?', 'held']);
  isBusy = false;
  await mount('a');
  expect(uses()).toBe('a=1');
  await unmount('a');
  expect([uses(), lock.state]).toEqual(['', 'released']);
});

test('row 6: an unconfirmed use is dropped, unless the volume was used again', async () => {
  await mount('a');
  await mounts.unconfirm(['v']);
  expect([uses(), mounts.hasUnconfirmed()]).toEqual(['a=1?', true]);
  const seen = mounts.get('v');
  await mount('a');
  expect(seen && (await mounts.settle(seen, ['a']))).toBe(false);
  await mounts.unconfirm(['v']);
  const [row] = mounts.rows();
  expect(row && (await mounts.settle(row, ['a']))).toBe(true);
  expect([mounts.rows(), lock.state]).toEqual([[], 'released']);
});

test('an Unmount of an unknown ID changes nothing', async () => {
  await mount('a');
  await unmount('b');
  expect([uses(), unmounts()]).toEqual(['a=1', 0]);
});

describe('without proof that the volume is ours', () => {
  beforeEach(async () => {
    await mount('a');
    await lock.unlock();
  });

  test('a new ID is refused', async () => {
    await expect(mount('b')).rejects.toThrow(UnavailableError);
    expect(uses()).toBe('a=1');
  });

  test('the last Unmount of a file system of its own waits, because it would write', async () => {
    const [driver] = drivers.values();
    if (!driver) throw new Error('there is no driver');
    const capabilities = { ...driver.capabilities, ownsFileSystem: true };
    drivers.set(driver.name, { ...driver, capabilities });
    await expect(unmount('a')).rejects.toThrow(UnavailableError);
    expect([uses(), unmounts()]).toEqual(['a=1?', 0]);
  });

  test('the last Unmount of a directory goes on, because it writes nothing', async () => {
    await unmount('a');
    expect([mounts.rows(), unmounts()]).toEqual([[], 1]);
  });
});
