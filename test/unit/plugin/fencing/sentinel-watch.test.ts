// What the daemon sends to the sentinel, and when: on a manual clock, with a fake link.
import { beforeEach, describe, expect, test } from '@jest/globals';
import { UnavailableError } from '../../../../lib/volumes/errors.ts';
import type { VolumeEvent } from '../../../../lib/volumes/events.ts';
import type { FencedMount } from '../../../../lib/volumes/mounts/mount-fence.ts';
import type { Ownership } from '../../../../lib/volumes/mounts/mount-state.ts';
import type { MountRow } from '../../../../lib/volumes/mounts/mount-table.ts';
import type { EndedContainer } from '../../../../plugin/fencing/sentinel-news.ts';
import type { SentinelWatchOptions } from '../../../../plugin/fencing/sentinel-watch.ts';
import { SentinelWatch } from '../../../../plugin/fencing/sentinel-watch.ts';
import type {
  ChangeReport,
  SentinelReport,
  WatchChange,
  WatchMessage,
} from '../../../../sentinel/watch.ts';
import { protocolVersion } from '../../../../sentinel/watch.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { mountRow } from '../../../support/mount-row.ts';

/** A sentinel behind a fake link. */
class FakeLink {
  readonly told: WatchMessage[] = [];
  isEnded = false;
  failure: Error | undefined;
  volumes: SentinelReport['volumes'] = {};
  happenings: SentinelReport['happenings'] = [];
  /** The rest of the report. */
  more: Pick<SentinelReport, 'watched' | 'leadMs' | 'incomplete'> = {};
  /** True: a sentinel of an earlier daemon runs. */
  guards = false;
  /** The promise that each call waits for. */
  answer: Promise<void> = Promise.resolve();

  async tell(makeWatch: () => WatchMessage): Promise<SentinelReport> {
    const watch = makeWatch();
    this.told.push(watch);
    await this.answer;
    if (this.failure) throw this.failure;
    const happenings = this.happenings.filter(({ number }) => number > watch.noted);
    const base = this.base === undefined ? {} : { base: this.base };
    return { protocolVersion, pid: 1, volumes: this.volumes, happenings, ...base, ...this.more };
  }

  readonly changes: WatchChange[] = [];
  /** The name of the sentinel's state in its next answer; undefined: it takes no changes. */
  base: string | undefined;

  async change(change: WatchChange): Promise<ChangeReport> {
    this.changes.push(change);
    await this.answer;
    if (this.failure) throw this.failure;
    if (this.base === undefined) throw new Error('the sentinel has another watch');
    return { base: this.base, leadMs: this.more.leadMs ?? 0 };
  }

  async isGuarding(): Promise<boolean> {
    return this.guards;
  }

  async end(): Promise<void> {
    this.isEnded = true;
  }
}

/** The uptime of this host when the manual clock starts. */
const upMs = 5_000_000;
const ttlMs = 10_000;

let clock: ManualClock;
let link: FakeLink;
let events: VolumeEvent[];
let ended: EndedContainer[];
/** The promise that the recording of an ended container waits for. */
let recorded: Promise<void>;
let leftMs: number;
/** The mountpoints that the kernel has. */
let mounted: Set<string>;
let watch: SentinelWatch;

function newWatch(change: Partial<SentinelWatchOptions> = {}): SentinelWatch {
  return new SentinelWatch({
    ...{ link, clock, ttlMs, fenceHostProcesses: false },
    drivers: new Map(),
    leftMs: () => leftMs,
    marginMs: () => 2_000,
    bootId: 'boot',
    bootNowMs: () => upMs + clock.now(),
    events: { record: (event) => events.push(event) },
    mountpointOf: (volume) => `/mounts/${volume}`,
    isMounted: async (mountpoint) => mounted.has(mountpoint),
    onEnded: async (container) => {
      ended.push(container);
      await recorded;
    },
    ...change,
  });
}

beforeEach(() => {
  clock = new ManualClock();
  link = new FakeLink();
  events = [];
  ended = [];
  recorded = Promise.resolve();
  leftMs = ttlMs;
  mounted = new Set();
  watch = newWatch();
});

function fenced(volume: string, own: Ownership = 'held', change?: Partial<MountRow>): FencedMount {
  return { row: mountRow(volume, change), isAdopted: false, ownership: () => own };
}

const lastTold = () => link.told.at(-1)?.volumes;

describe('each call to the sentinel', () => {
  test('has the mount, its lock and the deadline by the boot clock', async () => {
    leftMs = 7_000.9;
    await watch.watch([fenced('v', 'held', { mountMark: 'mark' })]);
    expect(link.told).toEqual([
      {
        protocol: protocolVersion,
        daemonPid: process.pid,
        bootId: 'boot',
        leadMs: 1_000,
        graceMs: 1_667,
        ...{ ttlMs, marginMs: 2_000, fenceHostProcesses: false, released: [] },
        noted: 0,
        volumes: [
          {
            volume: 'v',
            tenure: 'mark', // tidy-ok: the protocol's name
            mountpoint: '/mounts/v',
            ownsFileSystem: false,
            isAdopted: false,
            onLost: 'pause',
            state: 'held',
            deadlineMs: upMs + 7_000,
          },
        ],
      },
    ]);
  });

  test('has a deadline only for a lock that is proved', async () => {
    await watch.watch([fenced('u', 'unproven'), fenced('e', 'evicted'), fenced('l', 'lost')]);
    expect(lastTold()?.map(({ state, deadlineMs }) => [state, deadlineMs])).toEqual([
      ['unproven', undefined],
      ['evicted', 5_010_000],
      ['lost', undefined],
    ]);
  });

  test('reads the boot clock before the time left, so that a freeze in between extends no deadline', async () => {
    const asked: number[] = [];
    const frozen = newWatch({
      leftMs: () => {
        asked.push(clock.now());
        clock.advance(60_000);
        return 1_000;
      },
    });
    await frozen.watch([fenced('v')]);
    expect(asked.map((at) => upMs + at + 1_000)).toContain(lastTold()?.[0]?.deadlineMs);
  });

  test('has no volume with on-lost=keep', async () => {
    await watch.watch([fenced('v', 'lost', { onLost: 'keep' })]);
    expect(link.told).toEqual([]);
  });

  test('has only lost and evicted volumes if locks do not expire', async () => {
    leftMs = Number.POSITIVE_INFINITY;
    await watch.watch([fenced('h'), fenced('u', 'unproven')]);
    expect(link.told).toEqual([]);
    await watch.watch([fenced('h'), fenced('l', 'lost')]);
    expect(lastTold()?.map(({ volume }) => volume)).toEqual(['l']);
  });
});

describe('the sentinel is called', () => {
  test('each second while something is mounted, with the present deadline', async () => {
    const stop = new AbortController();
    await watch.watch([fenced('v')]);
    const running = watch.run(stop.signal);
    await clock.pass(2_500);
    expect(link.told.slice(1).map(({ volumes }) => volumes[0]?.deadlineMs)).toEqual([
      upMs + ttlMs,
      upMs + ttlMs + 1_000,
      upMs + ttlMs + 2_000,
    ]);
    stop.abort();
    await running;
    expect(clock.sleeping).toBe(0);
  });

  test('never while nothing is mounted, so that no sentinel is started needlessly', async () => {
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    await clock.pass(5_000);
    expect(link.told).toEqual([]);
    stop.abort();
    await running;
    await watch.leave();
    expect(link.isEnded).toBe(false);
  });

  test('once more after the last unmount, and the sentinel ends with the daemon', async () => {
    await watch.watch([fenced('v')]);
    watch.changed([]);
    await clock.pass(0);
    watch.changed([]);
    await clock.pass(0);
    expect(link.told.map(({ volumes }) => volumes.length)).toEqual([1, 0]);
    await watch.leave();
    expect(link.isEnded).toBe(true);
  });

  test('the sentinel outlives a daemon that leaves mounts behind', async () => {
    await watch.watch([fenced('v')]);
    await watch.leave();
    expect(link.told).toHaveLength(2);
    expect(link.isEnded).toBe(false);
  });

  test('one call at a time: a mount during a call resolves with the next call, which includes it', async () => {
    const answered = Promise.withResolvers<void>();
    link.answer = answered.promise;
    const first = watch.watch([fenced('a')]);
    let isWatched = false;
    const second = watch.watch([fenced('a'), fenced('b')]).then(() => {
      isWatched = true;
    });
    watch.changed([fenced('a'), fenced('b'), fenced('c')]);
    await clock.pass(0);
    expect(link.told).toHaveLength(1);
    expect(isWatched).toBe(false);
    answered.resolve();
    await Promise.all([first, second]);
    expect(link.told.map(({ volumes }) => volumes.map(({ volume }) => volume))).toEqual([
      ['a'],
      ['a', 'b', 'c'],
    ]);
  });
});

describe('a call for one mount', () => {
  const released = { volume: 'a', tenure: 'nonce-a' }; // tidy-ok: protocol name
  const all = () => watch.watch([fenced('a')]);

  test('gives that mount alone, and its end, if the sentinel has the last watch', async () => {
    link.base = 'one';
    await all();
    link.base = 'two';
    await watch.watch([fenced('a'), fenced('b')], 'b');
    link.base = 'three';
    watch.changed([fenced('b')], 'a');
    await clock.pass(0);
    watch.changed([fenced('b')], 'b');
    await clock.pass(0);
    expect(link.told).toHaveLength(1);
    expect(link.changes).toEqual([
      {
        ...{ bootId: 'boot', base: 'one', released: [] },
        volumes: [
          expect.objectContaining({ volume: 'b', state: 'held', deadlineMs: upMs + ttlMs }),
        ],
      },
      { bootId: 'boot', base: 'two', released: [released], volumes: [] },
    ]);
  });

  test('gives the whole watch to a sentinel that refuses the change, or does not know the call', async () => {
    await watch.watch([fenced('a')]);
    await watch.watch([fenced('a'), fenced('b')], 'b');
    expect(link.changes).toEqual([]); // It has named no state.
    link.base = 'one';
    await all();
    link.base = undefined;
    await watch.watch([fenced('a'), fenced('c')], 'c');
    expect(link.changes).toHaveLength(1);
    expect(lastTold()?.map(({ volume }) => volume)).toEqual(['a', 'c']);
  });

  test('gives the whole watch when more than that has changed since, or a lock is not held', async () => {
    link.base = 'one';
    await all();
    const answered = Promise.withResolvers<void>();
    link.answer = answered.promise;
    watch.deadlineChanged();
    watch.changed([fenced('a', 'unproven')]);
    const both = watch.watch([fenced('a', 'unproven'), fenced('b')], 'b');
    answered.resolve();
    await both;
    await watch.watch([fenced('a'), fenced('b'), fenced('c', 'unproven')], 'c');
    await watch.watch([fenced('a'), fenced('b', 'lost'), fenced('c')], 'b');
    expect(link.changes).toEqual([]);
    expect(lastTold()?.map(({ state }) => state)).toEqual(['held', 'lost', 'held']);
  });

  test('gives the whole watch after a call that failed', async () => {
    link.base = 'one';
    await all();
    link.failure = new Error('busy');
    watch.changed([fenced('a'), fenced('b')], 'b');
    await clock.pass(0);
    link.failure = undefined;
    await watch.watch([fenced('a'), fenced('b'), fenced('c')], 'c');
    expect(lastTold()?.map(({ volume }) => volume)).toEqual(['a', 'b', 'c']);
  });

  test('refuses a Mount for which the TTL leaves no time', async () => {
    link.base = 'one';
    await all();
    link.more = { leadMs: 60_000 };
    await expect(watch.watch([fenced('a'), fenced('b')], 'b')).rejects.toThrow(UnavailableError);
    expect(link.changes).toHaveLength(1);
  });
});

describe('a sentinel that does not answer', () => {
  test('makes a mount fail, and is a condition until it answers', async () => {
    link.failure = new Error('no sentinel');
    await expect(watch.watch([fenced('v')])).rejects.toThrow(UnavailableError);
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    await clock.pass(0);
    expect(watch.conditions()).toEqual([
      { severity: 'error', message: expect.stringMatching(/: no sentinel$/) },
    ]);
    link.failure = undefined;
    await clock.pass(1_000);
    expect(watch.conditions()).toEqual([]);
    stop.abort();
    await running;
  });

  test('gets a missed change with the next call', async () => {
    await watch.watch([fenced('a')]);
    link.failure = new Error('busy');
    watch.changed([fenced('a'), fenced('b')]);
    await clock.pass(0);
    link.failure = undefined;
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    await clock.pass(0);
    expect(lastTold()?.map(({ volume }) => volume)).toEqual(['a', 'b']);
    stop.abort();
    await running;
  });
});

describe('an action of the sentinel', () => {
  const happening = (number: number, kind: 'paused' | 'killed') => ({
    ...{ number, kind, volume: 'v', message: `did ${number}` },
    at: '2026-01-02T03:04:05.000Z',
  });

  test('is recorded once, with its time, and not asked for again', async () => {
    link.happenings = [happening(4, 'paused'), happening(5, 'killed')];
    await watch.watch([fenced('v')]);
    await watch.watch([fenced('v')]);
    expect(link.told.map(({ noted }) => noted)).toEqual([0, 5]);
    expect(events).toEqual([
      {
        severity: 'warning',
        kind: 'paused',
        volume: 'v',
        message: 'did 4',
        time: '2026-01-02T03:04:05.000Z',
      },
      expect.objectContaining({ severity: 'error', kind: 'killed', message: 'did 5' }),
    ]);
  });

  test('that ended a container is handed on, and only then the sentinel may forget it', async () => {
    link.happenings = [
      { ...happening(4, 'paused'), container: 'c1' },
      { ...happening(5, 'killed'), container: 'c1' },
      happening(6, 'killed'), // Not a container.
    ];
    const recording = Promise.withResolvers<void>();
    recorded = recording.promise;
    let isTold = false;
    const first = watch.watch([fenced('v', 'lost')]).then(() => {
      isTold = true;
    });
    await clock.pass(100);
    expect(isTold).toBe(false);
    expect(ended).toEqual([{ id: 'c1', volume: 'v', endedAt: '2026-01-02T03:04:05.000Z' }]);
    recording.resolve();
    await first;
    await watch.watch([fenced('v', 'lost')]);
    expect(link.told.map(({ noted }) => noted)).toEqual([0, 6]);
    expect(ended).toHaveLength(1);
  });

  test('that ended a container for an operator who cleared the lock is not handed on', async () => {
    link.happenings = [{ ...happening(5, 'killed'), container: 'c1' }];
    await watch.watch([fenced('v', 'evicted')]);
    expect(events).toHaveLength(1);
    expect(ended).toEqual([]);
  });
});

describe('ending the containers of a lost volume', () => {
  test('resolves when the sentinel says that they have ended', async () => {
    link.volumes = { v: 'running' };
    let hasEnded = false;
    const ending = watch.end('v', [fenced('v', 'lost')]).then(() => {
      hasEnded = true;
    });
    await clock.pass(5_000);
    link.volumes = { v: 'fenced' };
    await clock.pass(5_000);
    expect(hasEnded).toBe(false);
    link.volumes = { v: 'ended' };
    await clock.pass(100);
    await ending;
  });

  test('rejects when they have not ended after 20 s', async () => {
    link.volumes = { v: 'fenced' };
    const ending = watch.end('v', [fenced('v', 'lost')]);
    const outcome = expect(ending).rejects.toThrow(/volume v/);
    await clock.pass(20_100);
    await outcome;
    expect(clock.sleeping).toBe(0);
  });

  test('resolves at once when nothing of the volume is fenced on this host', async () => {
    await watch.end('v', []);
    expect(link.told).toEqual([]);
  });
});

describe('a mount that has ended', () => {
  const ofTwo = { a: { tenure: 'nonce-a', phase: 'running', fs: 'open' } }; // tidy-ok: protocol name

  test('is named as released until the report does not list it any more', async () => {
    link.more = { watched: ofTwo };
    await watch.watch([fenced('a'), fenced('b')]);
    watch.changed([fenced('b')]);
    await clock.pass(0);
    watch.changed([fenced('b')]);
    await clock.pass(0);
    link.more = { watched: {} };
    watch.changed([fenced('b')]);
    await clock.pass(0);
    watch.changed([fenced('b')]);
    await clock.pass(0);
    const released = { volume: 'a', tenure: 'nonce-a' }; // tidy-ok: protocol name
    expect(link.told.map((told) => told.released)).toEqual([
      [],
      [released],
      [released],
      [released],
      [],
    ]);
  });

  test('is named although its volume is mounted again', async () => {
    const mount = (mountMark: string) => watch.watch([fenced('a', 'held', { mountMark })]);
    const released = { volume: 'a', tenure: 'first' }; // tidy-ok: protocol name
    const before = { a: { ...released, phase: 'running', fs: 'open' } };
    await mount('first');
    link.more = { watched: before };
    await mount('second');
    await mount('second');
    expect(link.told.slice(1).map((told) => told.released)).toEqual([[released], [released]]);
    link.more = {};
    await mount('second');
    await mount('second');
    expect(link.told.at(-1)?.released).toEqual([]);
  });

  test('is not named any more when it is watched again', async () => {
    await watch.watch([fenced('a'), fenced('b')]);
    link.failure = new Error('busy');
    watch.changed([fenced('b')]);
    await clock.pass(0);
    link.failure = undefined;
    await watch.watch([fenced('a'), fenced('b')]);
    expect(link.told.map((told) => told.released?.length)).toEqual([0, 1, 0]);
  });

  test('is named again after a call that failed', async () => {
    await watch.watch([fenced('a')]);
    link.failure = new Error('busy');
    watch.changed([]);
    await clock.pass(0);
    link.failure = undefined;
    watch.changed([]);
    await clock.pass(0);
    expect(link.told.at(-1)?.released).toHaveLength(1);
  });
});

describe('what the sentinel of an earlier daemon guards', () => {
  const watched = { lost: { tenure: 'old', phase: 'fenced', fs: 'open' } }; // tidy-ok: protocol name
  beforeEach(() => {
    link.guards = true;
    link.volumes = { lost: 'fenced' };
    link.more = { watched };
  });

  async function ran(ms: number): Promise<void> {
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    await clock.pass(ms);
    stop.abort();
    await running;
  }

  test('is released when neither the daemon nor the kernel has it mounted', async () => {
    await ran(1_500);
    expect(link.told.map(({ released }) => released)).toEqual([
      [],
      [{ volume: 'lost', tenure: 'old' }], // tidy-ok: protocol name
    ]);
    expect(watch.conditions()).toEqual([]);
  });

  test('stays guarded while the kernel has it mounted, and is a condition', async () => {
    mounted.add('/mounts/lost');
    await ran(1_500);
    expect(link.told.map(({ released }) => released)).toEqual([[], []]);
    expect(watch.conditions()).toEqual([
      {
        severity: 'warning',
        message: expect.stringMatching(/volume lost.*umount \/mounts\/lost$/),
      },
    ]);
    await watch.leave();
    expect(link.isEnded).toBe(false);
  });

  test('is looked for where the earlier daemon had mounted it', async () => {
    mounted.add('/elsewhere/lost');
    link.more = { watched: { lost: { ...watched.lost, mountpoint: '/elsewhere/lost' } } };
    await ran(1_500);
    expect(link.told.map(({ released }) => released)).toEqual([[], []]);
    expect(watch.conditions()[0]?.message).toMatch(/umount \/elsewhere\/lost$/);
  });

  test('stays guarded while containers stand still for it, also when it is not mounted', async () => {
    link.more = { watched: { lost: { ...watched.lost, hasStopped: true } } };
    await ran(1_500);
    expect(link.told.map(({ released }) => released)).toEqual([[], []]);
    expect(watch.conditions()[0]?.message).toMatch(/not mounted at .* any more.*docker rm -f/);
  });

  test('is no condition for a volume that this daemon has mounted', async () => {
    mounted.add('/mounts/lost');
    await watch.watch([fenced('lost')]);
    expect(watch.conditions()).toEqual([]);
    expect(link.told.at(-1)?.released).toEqual([]);
  });
});

describe('a sentinel that needs more time than the TTL leaves', () => {
  const reason =
    "the sentinel needs 4.7 s to stop this host's containers, and a TTL of 10 s leaves it 4.7 s: " +
    'use a longer ttl or fewer volumes per host';

  test('makes a Mount fail, and is a condition; the figures are in both', async () => {
    link.more = { leadMs: 4_666 };
    await watch.watch([fenced('v')]);
    expect(watch.conditions()).toEqual([]);
    link.more = { leadMs: 4_668 };
    await expect(watch.watch([fenced('v')])).rejects.toThrow(UnavailableError);
    await expect(watch.watch([fenced('v')])).rejects.toThrow(reason);
    expect(watch.conditions()).toEqual([{ severity: 'warning', message: reason }]);
  });

  test('matters only where locks expire', async () => {
    link.more = { leadMs: 60_000 };
    leftMs = Number.POSITIVE_INFINITY;
    await watch.watch([fenced('v', 'lost')]);
    expect(watch.conditions()).toEqual([]);
  });
});

describe('a volume that the sentinel can not fully fence', () => {
  const message = "the sentinel can't stop everything that uses volume v: tar (process 7) runs";
  const condition = { severity: 'warning', message };
  const event = { ...condition, kind: 'incomplete', volume: 'v' };

  async function report(incomplete: SentinelReport['incomplete']): Promise<void> {
    link.more = { incomplete };
    await watch.watch([fenced('v')]);
  }

  test('is a condition as long as that lasts, and one event each time that it lasts', async () => {
    for (const time of [1, 2]) {
      await report({ v: 'tar (process 7) runs' });
      clock.advance(3_000);
      await report({ v: 'tar (process 7) runs' });
      await report({ v: 'tar (process 7) runs' });
      expect(watch.conditions()).toEqual([condition]);
      expect(events).toEqual(Array.from({ length: time }, () => event));
      await report({});
      expect(watch.conditions()).toEqual([]);
    }
  });

  test('is one event, at once, if the sentinel says it as a failure, too', async () => {
    const why = 'tar (process 7) runs';
    const at = '2026-01-02T03:04:05.000Z';
    link.happenings = [{ number: 1, at, kind: 'failed', volume: 'v', message: why }];
    await report({ v: why });
    clock.advance(3_000);
    await report({ v: why });
    expect(events).toEqual([event]);
    expect(link.told.map(({ noted }) => noted)).toEqual([0, 1]);
  });

  test('is no event if it is fenced a moment later', async () => {
    await report({ v: 'tar (process 7) runs' });
    clock.advance(2_999);
    await report({ v: 'other words' });
    await report({});
    expect(events).toEqual([]);
  });
});
