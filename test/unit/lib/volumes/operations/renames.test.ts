// `berth volume rename`: what is kept, what is refused, and what is true when it ends at any step. A memory
// store that can be broken, real directories, and nothing that is mounted.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Mount } from '../../../../../lib/linux/mountinfo.ts';
import { RenameDoctor } from '../../../../../lib/volumes/doctor/renames.ts';
import {
  ExistsError,
  InUseError,
  InvalidRequestError,
  NotFoundError,
} from '../../../../../lib/volumes/errors.ts';
import type { VolumeContainers } from '../../../../../lib/volumes/mounts/one-container.ts';
import { mountMarkKey } from '../../../../../lib/volumes/records/catalog.ts';
import { claimPrefix, claimText } from '../../../../../lib/volumes/records/claims.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const { signal } = new AbortController();
const context = { signal };
const nobody: VolumeContainers = { running: [], busy: [] };

let host: HostVolumes;
let containers: VolumeContainers;
let mountedAt: string[];

beforeEach(async () => {
  [containers, mountedAt] = [nobody, []];
  const mount = { source: 'x', root: '/', fsType: 'ext4' } as unknown as Mount;
  host = await hostVolumes({
    askEngine: async () => containers,
    mountsAt: async (path) => (mountedAt.some((name) => path.endsWith(`/${name}`)) ? [mount] : []),
  });
  await host.volumes.create({ name: 'db', options: { protect: 'yes', uid: '7' } }, context);
  await writeFile(join(contentOf('db'), 'state'), 'kept');
});

afterEach(() => host[Symbol.asyncDispose]());

const contentOf = (name: string) => join(host.path, 'directory', name, 'data');
const rename = (name: string, to: string) => host.volumes.rename(name, to, context);
const record = async (name: string) => (await host.catalog.read(name))?.record;
const names = () => host.volumes.list().map((view) => view.record.name);
const state = (name: string) => readFile(join(contentOf(name), 'state'), 'utf8');

async function expectRenamed(): Promise<void> {
  expect(names()).toEqual(['sales']);
  expect(await state('sales')).toBe('kept');
  expect(await record('db')).toBeUndefined();
  const { renamingTo, renamingFrom, version } = (await record('sales')) ?? {};
  expect([renamingTo, renamingFrom, version]).toEqual([undefined, undefined, 1]);
  expect(host.locks.tickets()).toEqual([]);
}

async function expectUnchanged(): Promise<void> {
  expect(names()).toContain('db');
  expect(await state('db')).toBe('kept');
  expect(await record('db')).toMatchObject({ name: 'db', version: 1, protect: true });
  expect((await record('db'))?.renamingTo).toBeUndefined();
  expect(host.locks.tickets()).toEqual([]);
}

test('a renamed volume has all that it had, and its former name is free', async () => {
  await host.volumes.snapshot({ volume: 'db', snapshot: 'monday' }, context);
  await host.volumes.mount('db', 'id', context);
  await host.volumes.unmount('db', 'id', context);
  const { token: _, ...before } = (await record('db')) ?? {};
  await rename('db', 'sales');
  await expectRenamed();
  expect(await record('sales')).toMatchObject({ ...before, name: 'sales' });
  await host.volumes.restoreSnapshot({ volume: 'sales', snapshot: 'monday' }, context);
  expect(await host.catalog.mountMark('db')).toBeUndefined();
  await expect(rename('db', 'sales')).rejects.toThrow(
    /no such volume: db; there is a volume sales/,
  );
  await host.volumes.create({ name: 'db', options: {} }, context);
  expect((await record('db'))?.snapshots).toEqual([]);
});

describe('a rename is refused, and changes nothing', () => {
  test.each<[string, string, new (...args: never[]) => Error, RegExp]>([
    ['db', 'db', InvalidRequestError, /has that name already/],
    ['db', '../x', InvalidRequestError, /not a valid volume name/],
    ['db', 'x', InvalidRequestError, /too short/],
    ['nope', 'sales', NotFoundError, /no such volume: nope/],
  ])('of %s to %s', async (name, to, kind, says) => {
    await expect(rename(name, to)).rejects.toThrow(kind);
    await expect(rename(name, to)).rejects.toThrow(says);
    await expectUnchanged();
  });

  test('if the other name is a volume, or has storage', async () => {
    await host.volumes.create({ name: 'sales', options: {} }, context);
    await expect(rename('db', 'sales')).rejects.toThrow(/volume sales exists already/);
    await mkdir(contentOf('left'), { recursive: true });
    await expect(rename('db', 'left')).rejects.toThrow(/storage of that name is there.*doctor/);
    await expectUnchanged();
  });

  test('if its storage is not here', async () => {
    host.driver.storage.find = async () => undefined;
    await expect(rename('db', 'sales')).rejects.toThrow(/storage of volume db is not here/);
    await expectUnchanged();
  });

  test('while it is mounted, by the ticket or by the kernel', async () => {
    await host.volumes.mount('db', 'id', context);
    await expect(rename('db', 'sales')).rejects.toThrow(/mounted on host n1 since .*stop the/);
    await host.volumes.unmount('db', 'id', context);
    for (const name of ['db', 'sales']) {
      mountedAt = [name];
      await expect(rename('db', 'sales')).rejects.toThrow(`volume ${name} is still mounted`);
    }
    await expectUnchanged();
  });

  test('while a container of the engine uses it', async () => {
    containers = { ...nobody, running: [{ id: 'a'.repeat(64), name: 'web' }] };
    await expect(rename('db', 'sales')).rejects.toThrow(/in use by the container web/);
    containers = { ...nobody, busy: [{ id: 'b'.repeat(64), name: 'new' }] };
    await expect(rename('db', 'sales')).rejects.toThrow(/in use by the container new/);
    await expectUnchanged();
  });

  test('while another host may write to it; a claim of this host ends with its name', async () => {
    const claim = async (owner: string, mark: string) => {
      const claimant = { owner, host: owner, addresses: [], boot: 'boot' };
      const key = claimPrefix('db') + mark;
      const value = claimText(claimant, new Date('2026-01-02T03:04:05Z'));
      await host.store.commit({ guards: [], writes: [{ key, value }], release: [] });
    };
    await claim('n2', 'other');
    await claim('n1', 'own');
    await expect(rename('db', 'sales')).rejects.toThrow(/host n2 had it since .*--host-gone/);
    await expectUnchanged();
    await host.claims.release('db', 'other');
    await rename('db', 'sales');
    await expectRenamed();
    expect(await host.claims.of('db')).toEqual([]);
  });
});

test('a driver that fails leaves the volume as it was, and the other name free', async () => {
  const { rename: real } = host.driver;
  host.driver.rename = async () => Promise.reject(new Error('EIO'));
  await expect(rename('db', 'sales')).rejects.toThrow('EIO');
  await expectUnchanged();
  expect(await record('sales')).toBeUndefined();
  host.driver.rename = real;
  await rename('db', 'sales');
  await expectRenamed();
});

/** The steps before which a crash may come, once the first one has been written. */
const crashes = ['before the storage is renamed', 'after the storage was renamed'] as const;

describe.each(crashes)('after a crash %s', (moment) => {
  beforeEach(async () => {
    const { rename: real } = host.driver;
    const { find } = host.driver.storage;
    const died = async () => Promise.reject(new Error('the daemon was killed'));
    host.driver.rename = async (...args) => {
      if (moment === 'after the storage was renamed') await real(...args);
      host.driver.storage.find = died; // So that nothing is taken back.
      await died();
    };
    await expect(rename('db', 'sales')).rejects.toThrow('the daemon was killed');
    host.driver.rename = real;
    host.driver.storage.find = find;
  });

  test('the volume has its former name, and says how the rename is completed', async () => {
    expect(names()).toEqual(['db']);
    expect(host.volumes.get('sales')).toBeUndefined();
    const { volumes } = host;
    const monday = { volume: 'db', snapshot: 'monday' };
    const refused = [
      volumes.mount('db', 'id', context),
      volumes.remove('db', context),
      volumes.snapshot({ volume: 'db', snapshot: 'tuesday' }, context),
      volumes.restoreSnapshot(monday, context),
      volumes.removeSnapshot(monday, context),
      volumes.copy({ volume: 'db' }, 'copy', context),
      rename('db', 'other'),
    ];
    for (const each of refused) {
      await expect(each).rejects.toThrow(InUseError);
      await expect(each).rejects.toThrow(
        /interrupted; complete it with: berth volume rename db sales/,
      );
    }
    await host.volumes.create({ name: 'web', options: {} }, context);
    const taken = [
      volumes.create({ name: 'sales', options: {} }, context),
      volumes.copy({ volume: 'web' }, 'sales', context),
      rename('web', 'sales'),
    ];
    for (const each of taken) await expect(each).rejects.toThrow(ExistsError);
    await expect(volumes.mount('sales', 'id', context)).rejects.toThrow(NotFoundError);
    expect(names()).toEqual(['db', 'web']);
  });

  test('a change of its rules is kept, and a repeat completes the rename', async () => {
    await host.volumes.set('db', { protect: 'no', 'on-lost': 'stop' }, context);
    await rename('db', 'sales');
    await expectRenamed();
    expect(await record('sales')).toMatchObject({ protect: false, onLost: 'stop' });
  });

  test('the doctor names it, completes it, and leaves it out while somebody works on it', async () => {
    const { catalog, drivers, pools, locks } = host;
    const volumes = host.unlocked;
    const doctor = new RenameDoctor({ catalog, drivers, pools, locks, volumes, host: 'n1' });
    const treatment = { fix: false, deletions: new Set<string>(), signal };
    const finding = { kind: 'interrupted-rename', what: 'db' };
    expect(await doctor.examine(treatment)).toMatchObject([{ ...finding, state: 'found' }]);
    await locks.disable('sales', { why: 'upgrade' });
    expect(await doctor.examine({ ...treatment, fix: true })).toMatchObject([
      {
        ...finding,
        state: 'found',
        next: [expect.any(String), expect.stringContaining('upgrade')],
      },
    ]);
    await locks.enable('sales');
    const use = { volume: 'sales', facet: 'snapshot', kind: 'create', mode: 'exclusive' } as const;
    await locks.executeWithUseLock(use, { signal }, async () => {
      expect(await doctor.examine({ ...treatment, fix: true })).toEqual([]);
    });
    expect(await doctor.examine({ ...treatment, fix: true })).toMatchObject([
      { ...finding, state: 'fixed' },
    ]);
    await expectRenamed();
    expect(await doctor.examine(treatment)).toEqual([]);
  });
});

test.each([
  ['lost reply', 1],
  ['lost request', 1],
  ['lost reply', 2],
  ['lost request', 2],
] as const)(
  'a write whose outcome is not known (%s of write %d) is completed',
  async (fault, at) => {
    const { rename: real } = host.driver;
    if (at === 1) host.store.fail('commit', fault);
    host.driver.rename = async (...args) => {
      await real(...args);
      if (at === 2) host.store.fail('commit', fault);
    };
    await rename('db', 'sales');
    await expectRenamed();
  },
);

test('the mount mark of the former name ends with it', async () => {
  await host.volumes.mount('db', 'id', context);
  await host.volumes.unmount('db', 'id', context);
  expect(await host.catalog.mountMark('db')).toBeDefined();
  await rename('db', 'sales');
  expect(await host.store.record(mountMarkKey('db'))).toBeUndefined();
});
