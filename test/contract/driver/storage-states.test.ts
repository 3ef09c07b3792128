// Every method of every driver, through the storage worker, on a pool that hangs, is full, is
// read-only, or is not mounted: real file systems on loop devices and FUSE; real time. Needs root.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { VolumeDriver } from '../../../lib/volumes/drivers/driver.ts';
import type { FormerOwner } from '../../../lib/volumes/drivers/takeover.ts';
import type {
  ListingMethod,
  PoolMethod,
  StorageMethod,
  TakeoverMethod,
  TrashMethod,
} from '../../../lib/volumes/worker/calls.ts';
import { fillUp } from '../../support/full-disk.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { never } from '../bench/driver-bench.ts';
import type { WorkerBench } from '../bench/worker-bench.ts';
import { makeWorkerBench, volumeOf } from '../bench/worker-bench.ts';

type Method =
  | StorageMethod
  | `storage.${ListingMethod}`
  | `pool.${PoolMethod}`
  | `takeover.${TakeoverMethod}`
  | `trash.${TrashMethod}`;

type State = 'full' | 'read-only' | 'missing';
/** `refused`: the method rejects with the cause, and the storage is as before. */
type Outcome = 'done' | 'refused';
type Outcomes = Readonly<Record<State, Outcome>>;

const always: Outcomes = { full: 'done', 'read-only': 'done', missing: 'done' };
const needsSpace: Outcomes = { full: 'refused', 'read-only': 'refused', missing: 'refused' };
const deletes: Outcomes = { full: 'done', 'read-only': 'refused', missing: 'done' };
const reads: Outcomes = { full: 'done', 'read-only': 'done', missing: 'refused' };
/** Makes the pool's directory: the daemon looks for the pool's mark before (test/e2e/mounts/pool-mark). */
const makes: Outcomes = { full: 'refused', 'read-only': 'refused', missing: 'done' };

/** The outcome of each method in each state, in the order in which the test calls them. */
const outcomes: Readonly<Record<Method, Outcomes>> = {
  'pool.look': always,
  'pool.space': always,
  'storage.names': always,
  'storage.find': always,
  'storage.leftovers': always,
  'storage.sweep': always,
  usage: reads,
  hasShutDown: always,
  occupied: always,
  recover: always,
  grow: { full: 'done', 'read-only': 'done', missing: 'refused' },
  'takeover.putAside': always,
  'takeover.discard': always,
  'takeover.takeOver': needsSpace,
  snapshot: needsSpace,
  restore: needsSpace,
  clone: needsSpace,
  rename: { full: 'done', 'read-only': 'refused', missing: 'refused' },
  'takeover.ability': makes,
  'pool.mark': makes,
  create: makes,
  mount: reads,
  unmount: always,
  abandon: always,
  'trash.entries': always,
  'trash.identityOf': always,
  'trash.bytes': always,
  'trash.takeOut': { full: 'done', 'read-only': 'refused', missing: 'refused' },
  'trash.put': deletes,
  'trash.discard': deletes,
  removeSnapshot: deletes,
  remove: deletes,
};
const methods = Object.keys(outcomes) as Method[];

/** The methods whose callers are answered at the limit, because the call changes nothing. */
const readsOnly: readonly Method[] = [
  ...(['pool.look', 'pool.space', 'storage.names', 'storage.find', 'storage.leftovers'] as const),
  ...(['usage', 'occupied', 'takeover.putAside'] as const),
  ...(['trash.entries', 'trash.identityOf', 'trash.bytes'] as const),
];

/** An image needs a writable pool: its file system is in a file there. */
const ofImage: Partial<Record<Method, Outcomes>> = {
  mount: { ...reads, 'read-only': 'refused' },
};

const causes: Readonly<Record<State, RegExp>> = {
  full: /no space left|ENOSPC|too little free space/i,
  'read-only': /read-only|EROFS|write-protected/i,
  missing: /is not there|ENOENT|no such file/i,
};

const former: FormerOwner = {
  ...{ host: 'n1', owner: 'machine.n1', addresses: [], mark: 'mark', token: 7 },
  since: '2026-01-02T03:04:05.000Z',
};

/**
 * Calls a method as an operation would. `spare` is a volume with the snapshot `monday` that is not
 * mounted, `used` and `left` are mounted; each method of a hung pool has a volume of its own instead.
 */
function callOf(
  { bench, driver }: Pool,
  method: Method,
  own?: string,
): Promise<unknown> | undefined {
  const volume = (name: string) => volumeOf(driver, own ?? name);
  const mounted = (name: string) => [volumeOf(driver, name), bench.mountpoint(name)] as const;
  const monday = { volume: volume('spare'), snapshot: 'monday' };
  const { takeover, trash } = driver;
  const entry = (name: string) => ({ volume: own ?? name, id: '1', identity: '1' });
  const calls: Readonly<Record<Method, () => Promise<unknown> | undefined>> = {
    create: () => driver.create(volume('new'), never),
    remove: () => driver.remove(volume('spare'), never),
    mount: async () => {
      const [spare, mountpoint] = [volume('spare'), bench.mountpoint(own ?? 'spare')];
      await driver.mount(spare, mountpoint, never);
      await driver.unmount(spare, mountpoint, never);
    },
    unmount: () => driver.unmount(...mounted('used'), never),
    abandon: () => driver.abandon(...mounted('left'), never),
    snapshot: () => driver.snapshot({ volume: volume('spare'), snapshot: 'tuesday' }, never),
    removeSnapshot: () => driver.removeSnapshot(monday, never),
    restore: () => driver.restore(monday, never),
    clone: () => driver.clone(monday, volumeOf(driver, `copy${own ?? ''}`), never),
    rename: async () => {
      const renamed = `${own ?? ''}renamed`;
      await driver.rename(volume('spare'), renamed, never);
      await driver.rename(volumeOf(driver, renamed), own ?? 'spare', never);
    },
    recover: () => driver.recover(bench.mountpoint('used'), never),
    grow: () => driver.grow?.(volume('used'), bench.mountpoint(own ?? 'used'), never),
    hasShutDown: () => driver.hasShutDown(volume('used'), bench.mountpoint('used')),
    usage: () => driver.usage(volume('spare'), undefined),
    occupied: () => driver.occupied(volume('spare')),
    'pool.look': () => driver.pool.look(),
    'pool.mark': () => driver.pool.mark('cluster'),
    'pool.space': () => driver.pool.space(),
    'storage.names': () => driver.storage.names(),
    'storage.find': () => driver.storage.find(own ?? 'spare'),
    'storage.leftovers': () => driver.storage.leftovers(),
    'storage.sweep': () => driver.storage.sweep(),
    'takeover.ability': () => takeover?.ability({ isNeeded: true }),
    'takeover.takeOver': () => takeover?.takeOver(volume('spare'), former, never),
    'takeover.putAside': () => takeover?.putAside(volume('spare')),
    'trash.entries': () => trash?.entries(),
    'trash.identityOf': () => trash?.identityOf(own ?? 'spare'),
    'trash.bytes': () => trash?.bytes(entry('wanted')),
    'trash.takeOut': () => trash?.takeOut(entry('wanted'), volume('wanted'), never),
    'trash.put': () => trash?.put(volume('old'), '1', never),
    'trash.discard': () => trash?.discard(entry('unwanted'), never),
    'takeover.discard': () => takeover?.discard(volume('spare'), 'mark', never),
  };
  return calls[method]();
}

interface Pool extends AsyncDisposable {
  readonly bench: WorkerBench;
  readonly driver: VolumeDriver;
  /** The mountpoint of the pool's file system. */
  readonly path: string;
}

/** Makes a pool with the three volumes, the content of each, and others for the trash and in it. */
async function makePool(name: string): Promise<Pool> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeFileSystem('ext4', name === 'image' ? 160 : 48));
  const bench = stack.use(await makeWorkerBench(join(path, 'volumes')));
  const driver = bench.driver(name);
  await driver.pool.mark('cluster');
  for (const each of ['spare', 'used', 'left']) {
    const mountpoint = bench.mountpoint(each);
    await driver.create(volumeOf(driver, each), never);
    await driver.mount(volumeOf(driver, each), mountpoint, never);
    stack.defer(() => driver.unmount(volumeOf(driver, each), mountpoint, never));
    await writeFile(join(mountpoint, 'state'), `of ${each}`, { flush: true });
  }
  for (const each of ['old', 'wanted', 'unwanted']) {
    await driver.create(volumeOf(driver, each), never);
    if (each !== 'old') await driver.trash?.put(volumeOf(driver, each), '1', never);
  }
  const spare = volumeOf(driver, 'spare');
  await driver.unmount(spare, bench.mountpoint('spare'), never);
  await driver.snapshot({ volume: spare, snapshot: 'monday' }, never);
  const owned = stack.move();
  return { bench, driver, path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Brings a pool into a state; the result brings it out of it. */
const enter: Readonly<Record<State, (pool: Pool) => Promise<AsyncDisposable>>> = {
  full: async ({ path }) => {
    const ballast = await fillUp(path);
    return ending(() => rm(ballast, { recursive: true }));
  },
  'read-only': async (pool) => {
    const { path } = pool;
    // The kernel remounts no file system with a file that is open for writing, such as an image.
    if (pool.driver.capabilities.ownsFileSystem) await unmountAll(pool);
    await runOk('mount', ['-o', 'remount,ro', path]);
    return ending(() => runOk('mount', ['-o', 'remount,rw', path]));
  },
  missing: async ({ path }) => {
    const kept = `${path}-kept`;
    await mkdir(kept);
    await runOk('mount', ['--bind', path, kept]);
    await runOk('umount', ['--lazy', path]);
    return ending(async () => {
      await runOk('mount', ['--bind', kept, path]);
      await runOk('umount', [kept]);
    });
  },
};

function ending(end: () => Promise<unknown>): AsyncDisposable {
  return { [Symbol.asyncDispose]: async () => void (await end()) };
}

async function unmountAll({ bench, driver }: Pool): Promise<void> {
  for (const name of ['used', 'left'])
    await driver.unmount(volumeOf(driver, name), bench.mountpoint(name), never);
}

/** Lists everything below a path, with types and sizes. */
async function treeOf(path: string): Promise<string[]> {
  return (await runOk('find', [path, '-printf', '%y %P %s\n'])).split('\n').sort();
}

/** Calls all methods one after the other; returns what each did. */
async function outcomesIn(pool: Pool, state: State): Promise<Partial<Record<Method, string>>> {
  const found: Partial<Record<Method, string>> = {};
  for (const method of methods) {
    const before = await treeOf(pool.path);
    const calling = callOf(pool, method);
    if (calling === undefined) continue;
    found[method] = await calling.then(
      () => 'done',
      (error) => (causes[state].test(String(error)) ? 'refused' : String(error)),
    );
    if (found[method] !== 'refused') continue;
    const left = (await treeOf(pool.path)).filter((line) => !before.includes(line));
    if (left.length > 0) found[method] = `refused, and left ${left.join(', ')}`;
  }
  return found;
}

describeWith(['root', 'loop', 'fuse'], 'every method of a driver', () => {
  const states = Object.keys(causes) as State[];

  test.each(
    ['directory', 'image'].flatMap((name) => states.map((state) => [name, state] as const)),
  )('%s on a pool that is %s: is done, or is refused and changes nothing', async (name, state) => {
    await using pool = await makePool(name);
    await using _state = await enter[state](pool);
    const found = await outcomesIn(pool, state);
    const expected = { ...outcomes, ...(name === 'image' ? ofImage : {}) };
    expect(found).toEqual(
      Object.fromEntries(
        Object.keys(found).map((method) => [method, expected[method as Method][state]]),
      ),
    );
  });

  test.each(['directory', 'image'])(
    '%s on a pool that hangs: is limited and named, and all is well when the pool answers',
    async (name) => {
      await using pool = await makePool(name);
      const { bench, driver } = pool;
      const other = bench.driver(name === 'image' ? 'directory' : 'image');
      await using hung = await makeHungFileSystem(driver.pool.place);
      const ended: string[] = [];
      const calls = methods.flatMap((method) => {
        const calling = callOf(pool, method, `own-${method}`);
        const note = () => void ended.push(method);
        return calling !== undefined ? [{ method, calling: calling.finally(note) }] : [];
      });
      const settled = Promise.allSettled(calls.map(({ calling }) => calling));
      // A bind mount is unmounted without a word to its storage, and a mountpoint lies elsewhere.
      const untouched: readonly string[] =
        name === 'directory'
          ? ['unmount', 'abandon', 'recover', 'occupied', 'hasShutDown']
          : ['grow', 'recover', 'hasShutDown'];
      const hanging = calls.filter(({ method }) => !untouched.includes(method));
      const changes = hanging.filter(({ method }) => !readsOnly.includes(method));
      for (const { calling } of hanging.filter((each) => !changes.includes(each))) {
        await expect(calling).rejects.toThrow('does not answer since');
      }
      const silent = () =>
        new Set(bench.lanes.all().flatMap(({ isRead, work }) => (isRead ? [] : [work])));
      await waitFor(() => silent().size === changes.length, 30_000, 'all to be silent');
      expect(ended.filter((method) => changes.some((each) => each.method === method))).toEqual([]);
      await waitFor(
        () => untouched.every((method) => ended.includes(method)),
        10_000,
        'the others',
      );
      for (const { volume } of bench.lanes.all().filter((each) => each.volume !== '')) {
        const again = driver.create(volumeOf(driver, volume), never);
        await expect(again).rejects.toThrow('does not answer since');
      }

      const db = volumeOf(other, 'db');
      await other.create(db, never);
      await other.mount(db, bench.mountpoint('db'), never);
      await other.unmount(db, bench.mountpoint('db'), never);
      await other.remove(db, never);

      await hung.answer();
      await settled;
      await waitFor(() => bench.lanes.all().length === 0, 10_000, 'the silences to end');
      await hung[Symbol.asyncDispose]();
      const running = () => bench.workers.filter(({ hasEnded }) => !hasEnded);
      await waitFor(() => running().length === 1, 10_000, 'the workers set aside to end');
      const kinds = bench.events.map(({ kind }) => kind);
      const count = (wanted: string) => kinds.filter((kind) => kind === wanted).length;
      expect(count('answered')).toBe(count('silent'));
      const spare = volumeOf(driver, 'spare');
      await driver.mount(spare, bench.mountpoint('spare'), never);
      expect(await readFile(join(bench.mountpoint('spare'), 'state'), 'utf8')).toBe('of spare');
    },
  );
});
