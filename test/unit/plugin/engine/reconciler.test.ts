// When the reconciler checks for unused mounts: its timers, on a manual clock, with a fake engine
// and fake mounts. test/e2e/mounts/reconciler.test.ts has a real engine.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VolumeEvent } from '../../../../lib/volumes/events.ts';
import type { MountRow } from '../../../../lib/volumes/mounts/mount-table.ts';
import type { VolumeUse } from '../../../../plugin/engine/engine.ts';
import type { ReconciledMounts } from '../../../../plugin/engine/reconciler.ts';
import { Reconciler } from '../../../../plugin/engine/reconciler.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { mountRow } from '../../../support/mount-row.ts';

type News = 'listens' | 'container ended';

/** An engine whose event stream and containers the test controls. */
class FakeEngine {
  readonly uses = new Map<string, VolumeUse>();
  /** The number of times that its containers were listed. */
  lists = 0;
  isAway = false;
  answer: Promise<void> = Promise.resolve();
  #queue: News[] = [];
  #wake = Promise.withResolvers<void>();

  async volumesInUse(): Promise<ReadonlyMap<string, VolumeUse>> {
    this.lists += 1;
    await this.answer;
    if (this.isAway) throw new Error('no engine');
    return this.uses;
  }

  async *news(signal: AbortSignal): AsyncGenerator<News, void> {
    if (this.isAway) throw new Error('no engine');
    const end = () => this.#wake.resolve();
    signal.addEventListener('abort', end);
    yield 'listens';
    while (!this.isAway && !signal.aborted) {
      for (const each of this.#queue.splice(0)) yield each;
      if (this.#queue.length === 0) await this.#wake.promise;
      this.#wake = Promise.withResolvers();
    }
    signal.removeEventListener('abort', end);
  }

  containerEnded(): void {
    this.#queue.push('container ended');
    this.#wake.resolve();
  }

  stop(): void {
    this.isAway = true;
    this.#wake.resolve();
  }
}

/** Mounts that count calls: `doubt` makes uses unconfirmed, `settle` drops them. */
class FakeMounts implements ReconciledMounts {
  readonly all = new Map<string, MountRow>();
  readonly settled: { volume: string; atMs: number }[] = [];
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  add(volume: string): void {
    this.all.set(volume, mountRow(volume));
  }

  rows(): MountRow[] {
    return [...this.all.values()];
  }

  hasUnconfirmed(): boolean {
    return this.rows().some(({ mountIds }) =>
      [...mountIds.values()].some(({ confirmed }) => !confirmed),
    );
  }

  async unconfirm(volumes: readonly string[]): Promise<void> {
    for (const volume of volumes) {
      this.all.set(
        volume,
        mountRow(volume, { mountIds: new Map([['id1', { count: 1, confirmed: false }]]) }),
      );
    }
  }

  async doubt(rows: readonly MountRow[]): Promise<void> {
    await this.unconfirm(rows.map(({ volume }) => volume));
  }

  async settle({ volume }: MountRow): Promise<boolean> {
    this.settled.push({ volume, atMs: this.#clock.now() });
    return this.all.delete(volume);
  }
}

const intervalMs = 60_000;
let clock: ManualClock;
let engine: FakeEngine;
let mounts: FakeMounts;
let stopping: AbortController;
let events: VolumeEvent[];
let shown: Set<string>;
let running: Promise<void>;

beforeEach(() => {
  clock = new ManualClock();
  engine = new FakeEngine();
  mounts = new FakeMounts(clock);
  stopping = new AbortController();
  events = [];
  shown = new Set();
  running = Promise.resolve();
});

afterEach(async () => {
  stopping.abort();
  engine.stop();
  await running;
  expect(clock.sleeping).toBe(0);
});

function reconciler(): Reconciler {
  return new Reconciler({
    ...{ mounts, engine, clock, intervalMs },
    events: { record: (event) => events.push(event) },
    isShownElsewhere: async (mountpoint) => shown.has(mountpoint),
    random: () => 0.5,
    signal: stopping.signal,
  });
}

/** Starts a reconciler, as a daemon does after it has adopted the mounts of its predecessor. */
async function start(): Promise<Reconciler> {
  const started = reconciler();
  running = started.run();
  await clock.pass(0);
  return started;
}

describe('after the start of the daemon', () => {
  test("drops unused mounts two seconds after the engine's first answer, not before", async () => {
    mounts.add('unused');
    mounts.add('used');
    engine.uses.set('used', 'live');
    await start();
    await clock.pass(1_999);
    expect(mounts.settled).toEqual([]);
    await clock.pass(1);
    expect(mounts.settled).toEqual([{ volume: 'unused', atMs: 2_000 }]);
    expect(mounts.rows().map(({ volume }) => volume)).toEqual(['used']);
    expect(events.map(({ kind, severity }) => [kind, severity])).toEqual([['settled', 'info']]);
  });

  test('a container that starts in these two seconds keeps its mount', async () => {
    mounts.add('v');
    await start();
    await clock.pass(1_000);
    engine.uses.set('v', 'live');
    await clock.pass(intervalMs);
    expect(mounts.settled).toEqual([]);
  });

  test('keeps a mount that a process still has, and records one event', async () => {
    mounts.add('v');
    shown.add('/mounts/v');
    await start();
    await clock.pass(5 * intervalMs);
    expect(mounts.settled).toEqual([]);
    expect(events.map(({ kind }) => kind)).toEqual(['kept']);
    shown.clear();
    await clock.pass(intervalMs);
    expect(mounts.settled).toHaveLength(1);
  });
});

describe('when a container has ended', () => {
  test('checks 200 ms later while uses are unconfirmed', async () => {
    mounts.add('v');
    engine.uses.set('v', 'live');
    await start();
    await clock.pass(10_000);
    await mounts.unconfirm(['v']);
    engine.uses.clear();
    engine.containerEnded();
    await clock.pass(199);
    expect(mounts.settled).toEqual([]);
    await clock.pass(1);
    expect(mounts.settled).toEqual([{ volume: 'v', atMs: 10_200 }]);
  });

  test('checks again after 1, 5 and 20 s while the engine still lists the container', async () => {
    mounts.add('v');
    engine.uses.set('v', 'live');
    await start();
    await clock.pass(10_000);
    await mounts.unconfirm(['v']);
    engine.containerEnded();
    const { lists } = engine;
    const seen: number[] = [];
    for (let atMs = 0; atMs < 30_000; atMs += 100) {
      const before = engine.lists;
      await clock.pass(100);
      if (engine.lists > before) seen.push(atMs + 100);
    }
    expect(seen).toEqual([200, 1_200, 6_200, 26_200]);
    expect(engine.lists).toBe(lists + 4);
    engine.containerEnded();
    await clock.pass(200);
    engine.uses.clear();
    await clock.pass(1_000);
    expect(mounts.settled).toEqual([{ volume: 'v', atMs: 41_200 }]);
  });

  test('several containers that end in a row do not delay the check', async () => {
    mounts.add('v');
    engine.uses.set('v', 'live');
    await start();
    await clock.pass(10_000);
    await mounts.unconfirm(['v']);
    engine.uses.clear();
    for (let count = 0; count < 4; count += 1) {
      engine.containerEnded();
      await clock.pass(150);
    }
    expect(mounts.settled).toEqual([{ volume: 'v', atMs: 10_200 }]);
  });

  test("does not check while the engine's containers are still starting", async () => {
    mounts.add('v');
    await start();
    await clock.pass(100);
    engine.containerEnded();
    await clock.pass(1_899);
    expect(mounts.settled).toEqual([]);
    await clock.pass(1);
    expect(mounts.settled).toHaveLength(1);
  });

  test('does not ask the engine when all uses are confirmed', async () => {
    await start();
    await clock.pass(10_000);
    mounts.add('v');
    const { lists } = engine;
    engine.containerEnded();
    await clock.pass(10_000);
    expect(engine.lists).toBe(lists);
  });
});

describe('at intervals', () => {
  test('drops a confirmed use after no container has had the volume for three intervals', async () => {
    await start();
    await clock.pass(3_000); // The check after the start, at 2 s, is over; from now on one a minute.
    mounts.add('v');
    await clock.pass(4 * intervalMs - 1_001);
    expect(mounts.settled).toEqual([]);
    await clock.pass(1);
    expect(mounts.settled).toEqual([{ volume: 'v', atMs: 4 * intervalMs + 2_000 }]);
    expect(events.map(({ kind, severity }) => [kind, severity])).toEqual([['settled', 'warning']]);
  });

  test('keeps the confirmed use of a container that was only created', async () => {
    await start();
    mounts.add('v');
    engine.uses.set('v', 'created');
    await clock.pass(10 * intervalMs);
    expect(mounts.settled).toEqual([]);
  });

  test('does not ask the engine when nothing is mounted', async () => {
    await start();
    await clock.pass(3_000);
    const { lists } = engine;
    await clock.pass(10 * intervalMs);
    expect(engine.lists).toBe(lists);
  });

  test('goes on after a failed check', async () => {
    await start();
    await clock.pass(3_000);
    mounts.add('v');
    engine.answer = Promise.reject(new Error('busy'));
    engine.answer.catch(() => {});
    await clock.pass(2 * intervalMs);
    engine.answer = Promise.resolve();
    await clock.pass(5 * intervalMs);
    expect(mounts.settled).toHaveLength(1);
  });
});

describe('when the engine restarts', () => {
  test('reconnects each second, and makes earlier uses unconfirmed', async () => {
    await start();
    await clock.pass(3_000);
    mounts.add('v');
    engine.stop();
    await clock.pass(500);
    expect(mounts.hasUnconfirmed()).toBe(false);
    engine.isAway = false;
    await clock.pass(500);
    expect(mounts.hasUnconfirmed()).toBe(true);
    await clock.pass(2_000);
    expect(mounts.settled).toEqual([{ volume: 'v', atMs: 6_000 }]);
  });

  test('Plugin.Activate makes all uses unconfirmed and triggers a check', async () => {
    const started = await start();
    await clock.pass(10_000);
    mounts.add('v');
    started.engineStarted();
    await clock.pass(1_999);
    expect(mounts.settled).toEqual([]);
    await clock.pass(1);
    expect(mounts.settled).toEqual([{ volume: 'v', atMs: 12_000 }]);
  });

  test('a second Plugin.Activate postpones the check', async () => {
    const started = await start();
    await clock.pass(10_000);
    mounts.add('v');
    started.engineStarted();
    await clock.pass(1_500);
    started.engineStarted();
    await clock.pass(1_999);
    expect(mounts.settled).toEqual([]);
    await clock.pass(201);
    expect(mounts.settled).toHaveLength(1);
  });
});

test('one check at a time: a check that becomes due during another runs after it', async () => {
  mounts.add('v');
  const answered = Promise.withResolvers<void>();
  const started = await start();
  engine.answer = answered.promise;
  await clock.pass(2_000);
  const { lists } = engine;
  started.engineStarted();
  await clock.pass(5_000);
  expect(engine.lists).toBe(lists);
  answered.resolve();
  await clock.pass(200);
  expect(mounts.settled).toHaveLength(1);
});

test('check rejects when the engine does not answer', async () => {
  engine.isAway = true;
  await expect(reconciler().check()).rejects.toThrow('no engine');
});

test('makes no further check once the daemon stops', async () => {
  mounts.add('v');
  await start();
  await clock.pass(1_000);
  stopping.abort();
  await running;
  await clock.pass(2 * intervalMs);
  expect(mounts.settled).toEqual([]);
});
