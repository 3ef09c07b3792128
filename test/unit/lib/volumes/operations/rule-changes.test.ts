// `berth volume set`: which changes of a volume's rules are made, refused and followed. A memory store
// that can be broken; the engine is played, and nothing is mounted.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InUseError, InvalidRequestError } from '../../../../../lib/volumes/errors.ts';
import type { VolumeContainers } from '../../../../../lib/volumes/mounts/one-container.ts';
import { RuleWatch } from '../../../../../lib/volumes/operations/rule-watch.ts';
import { recordWrite } from '../../../../../lib/volumes/records/catalog.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
const web = { id: 'a'.repeat(64), name: 'web' };
const other = { id: 'b'.repeat(64), name: 'other' };
const podmanId = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';

let host: HostVolumes;
let running: VolumeContainers['running'];

beforeEach(async () => {
  running = [];
  host = await hostVolumes({ askEngine: async () => ({ running, busy: [] }) });
  await host.volumes.create({ name: 'db', options: {} }, context);
});

afterEach(() => host[Symbol.asyncDispose]());

const set = (options: Record<string, string>) => host.volumes.set('db', options, context);
const mount = (id = 'id') => host.volumes.mount('db', id, context);
const record = async () => (await host.catalog.read('db'))?.record as VolumeRecord;
const row = () => host.table.get('db');

describe('a volume that nobody uses', () => {
  test.each<[Record<string, string>, object]>([
    [{ access: 'container' }, { access: 'container', onLost: 'pause' }],
    [{ access: 'shared' }, { access: 'shared', onLost: 'keep' }],
    [{ failover: 'manual' }, { failover: 'manual' }],
    [
      { 'on-lost': 'stop', protect: 'yes' },
      { onLost: 'stop', protect: true },
    ],
  ])('gets %j, and again without a write', async (options, expected) => {
    expect(await set(options)).toMatchObject(expected);
    expect(await record()).toMatchObject(expected);
    const { token } = await record();
    expect(await set(options)).toMatchObject(expected);
    expect((await record()).token).toBe(token);
    expect(host.locks.tickets()).toEqual([]);
  });

  test('gets other mount options, which are checked, and keeps its owner', async () => {
    await host.volumes.create({ name: 'owned', options: { uid: '7' } }, context);
    const change = (text: string) =>
      host.volumes.set('owned', { 'mount-options': text, protect: 'yes' }, context);
    expect(await change('suid,noatime')).toMatchObject({
      protect: true,
      options: { 'mount-options': 'suid,nodev,noatime' },
    });
    const owned = async () => (await host.catalog.read('owned'))?.record;
    expect((await owned())?.options).toEqual({ uid: '7', 'mount-options': 'suid,nodev,noatime' });
    const { token } = (await owned()) ?? {};
    await change('noatime,suid');
    expect((await owned())?.token).toBe(token);
    await expect(change('ro')).rejects.toThrow(/mount-options can't have "ro"/);
    await expect(host.volumes.set('owned', { uid: '8' }, context)).rejects.toThrow(
      /"uid" can't be changed; what can be: .*, protect, keep, mount-options/,
    );
  });

  test('gets on-lost=pause back when it is shared no more', async () => {
    await set({ access: 'shared' });
    expect(await set({ access: 'host' })).toMatchObject({ access: 'host', onLost: 'pause' });
  });
});

test.each<[Record<string, string>, RegExp]>([
  [{}, /nothing to change; what can be: access, failover/],
  [{ size: '2G' }, /"size" can't be changed/],
  [{ access: 'all' }, /access="all" is not allowed; use one of host, container, shared/],
  [{ protect: 'true' }, /protect="true" is not allowed; use one of yes, no/],
  [{ access: 'shared', 'on-lost': 'pause' }, /can't be combined with access=shared/],
])('%j is refused and changes nothing', async (options, reason) => {
  const before = await record();
  await expect(set(options)).rejects.toThrow(InvalidRequestError);
  await expect(set(options)).rejects.toThrow(reason);
  expect(await record()).toEqual(before);
});

test('on-lost=keep is refused for a volume that was created with fencing=storage', async () => {
  const { record: made, revision } = (await host.catalog.read('db')) ?? {};
  if (!made || revision === undefined) throw new Error('there is no record');
  const write = recordWrite({ ...made, fencing: 'storage' }, revision);
  await host.store.commit({ guards: [], writes: [write], release: [] });
  await expect(set({ 'on-lost': 'keep' })).rejects.toThrow(/fencing=storage can't be combined/);
});

describe('a volume that is mounted here', () => {
  beforeEach(async () => {
    await mount();
  });

  test('gets on-lost at once, in its row, too', async () => {
    await set({ 'on-lost': 'stop' });
    expect(row()?.onLost).toBe('stop');
  });

  test.each([{ access: 'shared' }, { failover: 'manual' }])('is refused %j', async (options) => {
    const before = await record();
    await expect(set(options)).rejects.toThrow(/mounted on host n1 since .*stop the containers/);
    expect(await record()).toEqual(before);
    expect(host.locks.tickets('db')).toHaveLength(1);
  });

  test('gets access=container while one container uses it, which then keeps a second one out', async () => {
    running = [web];
    await set({ access: 'container' });
    expect([row()?.access, (await record()).access]).toEqual(['container', 'container']);
    await expect(mount('second')).resolves.not.toBe(row()?.mountpoint);
    await set({ access: 'host' });
    expect(await mount('second')).toBe(row()?.mountpoint);
  });

  test('is refused access=container while two use it', async () => {
    running = [web, other];
    await expect(set({ access: 'container' })).rejects.toThrow(
      /the container web .* and the container other/,
    );
    expect([row()?.access, (await record()).access]).toEqual(['host', 'host']);
  });

  test('is refused access=container while Podman uses it', async () => {
    await mount(podmanId);
    await expect(set({ access: 'container' })).rejects.toThrow(/Podman uses it/);
  });
});

test('access=container is refused here while another host has it mounted, and says where to ask', async () => {
  await mount();
  const ticket = row()?.ticket;
  host.table.delete('db'); // As if the mount were another host's.
  await expect(set({ access: 'container' })).rejects.toThrow(/can be set on that host/);
  expect(ticket).toBeDefined();
});

test('clients F7: a protected volume is not removed until that is ended', async () => {
  await host.volumes.create({ name: 'kept', options: { protect: 'yes' } }, context);
  const remove = () => host.volumes.remove('kept', context);
  await expect(remove()).rejects.toThrow(/berth volume set kept protect=no/);
  await expect(remove()).rejects.toThrow(InUseError);
  await host.volumes.set('kept', { protect: 'no' }, context);
  await remove();
  expect(host.volumes.get('kept')).toBeUndefined();
});

test.each(['lost reply', 'lost request'] as const)(
  'a write whose outcome is not known (%s) is completed, and the locks are free',
  async (fault) => {
    host.store.fail('commit', fault);
    await set({ access: 'container' });
    expect((await record()).access).toBe('container');
    expect(host.locks.tickets()).toEqual([]);
  },
);

describe('a change that another host makes', () => {
  const changeElsewhere = async (change: Partial<VolumeRecord>) => {
    const entry = await host.catalog.read('db');
    if (!entry) throw new Error('there is no record');
    const changed = { ...entry.record, token: entry.record.token + 100, ...change };
    const write = recordWrite(changed, entry.revision);
    await host.store.commit({ guards: [], writes: [write], release: [] });
    await host.mirror.firstReset;
  };
  const settled = () => host.mutex.run('db', async () => {});

  test('reaches the mount here, also a change before this process', async () => {
    await mount();
    await changeElsewhere({ access: 'container', onLost: 'stop' });
    expect(row()?.access).toBe('host');
    using _watch = new RuleWatch(host).follow();
    await changeElsewhere({ onLost: 'keep', access: 'container' });
    await settled();
    await settled();
    expect(row()).toMatchObject({ access: 'container', onLost: 'keep' });
  });

  test('is ignored if it is older than what the mount has', async () => {
    await mount();
    await set({ 'on-lost': 'stop' });
    using _watch = new RuleWatch(host).follow();
    await changeElsewhere({ onLost: 'pause', token: 0 });
    await settled();
    await settled();
    expect(row()?.onLost).toBe('stop');
  });
});
