// What operations do with a disabled volume: real locks on a memory store, the real directory
// driver in a temporary directory.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { LockManager } from '../../../../../lib/lock/lock-manager.ts';
import { memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../../../../lib/lock/use/lock-driver.ts';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { MountStates } from '../../../../../lib/volumes/mounts/mount-state.ts';
import type { MountTable } from '../../../../../lib/volumes/mounts/mount-table.ts';
import { CopiesInUse } from '../../../../../lib/volumes/operations/copies-in-use.ts';
import { LockedVolumes } from '../../../../../lib/volumes/operations/locked-volumes.ts';
import { Volumes } from '../../../../../lib/volumes/operations/volumes.ts';
import { PoolRoom } from '../../../../../lib/volumes/pools/pool-room.ts';
import { Catalog } from '../../../../../lib/volumes/records/catalog.ts';
import { LastUses } from '../../../../../lib/volumes/records/last-uses.ts';
import { hostMounts } from '../../../../support/host-mounts.ts';
import { hostTakeovers } from '../../../../support/host-takeovers.ts';
import { noEngine, secondContainers } from '../../../../support/host-volumes.ts';
import { noCommands, noStandstills } from '../../../../support/no-standstills.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const context = { signal: new AbortController().signal };

let resources: AsyncDisposableStack;
let locks: LockDriver;
let table: MountTable;
let states: MountStates;
let volumes: LockedVolumes;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  const { path } = resources.use(await makeTemporaryDirectory());
  const store = memoryStore();
  const manager = new LockManager({ store, host: 'n1', owner: 'n1', ttlMs: 30_000 });
  resources.use(manager);
  // Longer than the test's own limit, so that a refusal can't have waited for it.
  locks = new LockDriver(manager, 60_000);
  const driver = directoryDriver({ volumeDir: path });
  const drivers = new Map([[driver.name, driver]]);
  const catalog = new Catalog(manager.mirror, store);
  const { mounts, found, recovery, mutex, clock, noteUse, ...host } = resources.use(
    await hostMounts({ directory: path, locks, catalog, drivers, manager, owner: 'n1' }),
  );
  ({ table, states } = host);
  const { events } = host;
  const { fencing, ...taking } = hostTakeovers({ store, drivers, events, clock });
  volumes = new LockedVolumes({
    ...taking,
    ...{ fencing, noteUse, lastUses: new LastUses(manager.mirror, store) },
    volumes: new Volumes({
      ...{ catalog, drivers, host: 'n1', mounts, clock, fencing, noteUse },
      ...{ claims: taking.claims, claimant: taking.claimant, containers: noEngine },
      claimKeys: () => [],
      trash: { keeps: () => false, put: async () => {} },
      pools: {
        require: async () => {},
        allowsWork: () => false,
        duringWork: (_, work) => work(undefined),
      },
      room: new PoolRoom({ catalog, overcommit: 1, host: 'n1', clock }),
      copies: new CopiesInUse({
        ...{ standstills: noStandstills, commands: noCommands },
        events,
        holdLimitMs: 10_000,
      }),
    }),
    locks,
    catalog,
    mirror: manager.mirror,
    mounts,
    found,
    recovery,
    mutex,
    clock,
    ...secondContainers(),
    defaultDriver: driver.name,
    lockTimeoutMs: 60_000,
  });
  await manager.mirror.firstReset;
  for (const name of ['db', 'web']) await volumes.create({ name, options: {} }, context);
  await volumes.snapshot({ volume: 'db', snapshot: 'monday' }, context);
});

afterEach(async () => {
  await resources.disposeAsync();
});

const refusal =
  /^volume db is disabled by host n1 since 20\d\d-\S+Z \(upgrade\); enable it again with: berth lock enable db$/;
const monday = { volume: 'db', snapshot: 'monday' };

test.each<[what: string, attempt: () => Promise<unknown>]>([
  ['Mount', () => volumes.mount('db', 'id1', context)],
  ['Remove', () => volumes.remove('db', context)],
  ['Snapshot', () => volumes.snapshot({ volume: 'db' }, context)],
  ['SnapshotPrune', () => volumes.removeSnapshot(monday, context)],
  ['restoring', () => volumes.restoreSnapshot(monday, context)],
  ['Copy from it', () => volumes.copy({ volume: 'db' }, 'copy', context)],
  ['Copy from its snapshot', () => volumes.copy(monday, 'copy', context)],
  ['Create from it', () => volumes.create({ name: 'copy', options: { from: 'db' } }, context)],
])(
  '%s of a disabled volume is refused at once, and works once the volume is enabled',
  async (what, attempt) => {
    await locks.disable('db', { why: 'upgrade' });
    const refused = attempt();
    await expect(refused).rejects.toMatchObject({ code: 'disabled' });
    await expect(refused).rejects.toThrow(refusal);
    expect(locks.tickets()).toEqual([]);
    await locks.enable('db');
    if (what === 'Remove') await volumes.removeSnapshot(monday, context);
    // A Mount needs root; test/e2e/mounts tries it with an engine.
    if (what !== 'Mount') await attempt();
  },
);

test("Create and Copy can't make a volume with the name of a disabled one", async () => {
  await volumes.remove('web', context);
  await locks.disable('web', {});
  const text =
    /^volume web is disabled by host n1 since \S+; enable it again with: \S+ lock enable web$/;
  await expect(volumes.create({ name: 'web', options: {} }, context)).rejects.toThrow(text);
  await expect(volumes.copy({ volume: 'db' }, 'web', context)).rejects.toThrow(text);
  await locks.disable('db', { why: 'upgrade' });
  await expect(volumes.copy({ volume: 'db' }, 'web', context)).rejects.toThrow(
    /^volume db is .* \(upgrade\), volume web is .*; .*: berth lock enable db, berth lock enable web$/,
  );
});

test('a disabled volume that is mounted here gets no further user, and its last user can unmount', async () => {
  const options = { ...context, onChange: () => {} };
  const { ticket } = await locks.acquireWithTTLRefresh(UseMount('db', 'mount'), options);
  const mountIds = new Map([['id1', { count: 1, confirmed: true }]]);
  const mountpoint = '/nowhere';
  const row = {
    volume: 'db',
    driver: 'directory',
    options: {},
    access: 'host',
    failover: 'auto',
    onLost: 'pause',
  } as const;
  await table.put({ ...row, mountpoint, ticket, bootId: 'boot', mountIds });
  states.enter('db', { is: 'unlocked' });

  await locks.disable('db', { why: 'upgrade' });
  expect(volumes.get('db')?.gates).toMatchObject([{ why: 'upgrade' }, { why: 'upgrade' }]);
  await expect(volumes.mount('db', 'id2', context)).rejects.toThrow(refusal);
  expect([...(table.get('db')?.mountIds.keys() ?? [])]).toEqual(['id1']);
  await volumes.unmount('db', 'id2', context);
  await volumes.unmount('db', 'id1', context);
  expect(table.rows()).toEqual([]);
});
