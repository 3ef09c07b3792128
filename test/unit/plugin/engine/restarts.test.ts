// Which containers are started again after the sentinel ended them, and when: on a manual clock, with
// a fake engine and a real file. test/e2e/fencing has a real engine.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { VolumeEvent } from '../../../../lib/volumes/events.ts';
import { EndedContainers } from '../../../../plugin/engine/ended-containers.ts';
import type { InspectedContainer } from '../../../../plugin/engine/restart-verdict.ts';
import { Restarts } from '../../../../plugin/engine/restarts.ts';
import { eventually } from '../../../support/eventually.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const startedAt = '2026-01-01T00:00:00.123456789Z';
const endedAt = '2026-01-01T01:00:00.000Z';
const laterAt = '2026-01-01T02:00:00.000Z';

/** An engine whose containers the test sets. */
class FakeEngine {
  readonly containers = new Map<string, InspectedContainer>();
  readonly starts: string[] = [];
  readonly startsAtMs: number[] = [];
  inspections = 0;
  failure: Error | undefined;
  startFailure: Error | undefined;
  /** The promise that each start waits for. */
  answer: Promise<void> = Promise.resolve();

  async inspect(id: string): Promise<InspectedContainer | undefined> {
    this.inspections += 1;
    if (this.failure) throw this.failure;
    return this.containers.get(id);
  }

  async start(id: string): Promise<void> {
    this.starts.push(id);
    this.startsAtMs.push(clock.now());
    await this.answer;
    if (this.startFailure) throw this.startFailure;
    this.set(id, { isLive: true, startedAt: laterAt });
  }

  set(id: string, change: Partial<InspectedContainer> = {}): void {
    const before = this.containers.get(id) ?? {
      ...{ name: `name-${id}`, startedAt, isLive: false, restartPolicy: 'always', labels: {} },
      volumes: ['db'],
    };
    this.containers.set(id, { ...before, ...change });
  }
}

let directory: TemporaryDirectory;
let clock: ManualClock;
let engine: FakeEngine;
let ended: EndedContainers;
let events: VolumeEvent[];
let free: Set<string>;
let stopping: AbortController;

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  clock = new ManualClock();
  engine = new FakeEngine();
  events = [];
  free = new Set(['db']);
  await startDaemon();
});
afterEach(async () => {
  stopping.abort();
  await directory[Symbol.asyncDispose]();
});

const path = () => join(directory.path, 'ended-containers.json');

async function startDaemon(): Promise<void> {
  stopping = new AbortController();
  ended = await EndedContainers.open(path());
  const restarts = new Restarts({
    ...{ ended, engine, clock, signal: stopping.signal },
    isFree: (volume) => free.has(volume),
    events: { record: (event) => events.push(event) },
    random: () => 0.5,
  });
  void restarts.run();
}

/** Moves the clock on in small steps: files are written between them, in real time. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 500) {
    await clock.pass(Math.min(500, left));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Moves the clock on until the condition holds. */
async function passUntil(condition: () => boolean): Promise<void> {
  for (let steps = 0; steps < 200 && !condition(); steps += 1) await pass(500);
  expect(condition()).toBe(true);
}

const kill = (id = 'c1', volume = 'db', at = endedAt) => ended.add({ id, volume, endedAt: at });
const kinds = () => events.map(({ kind }) => kind);

describe('a container that the sentinel ended', () => {
  test.each(['always', 'unless-stopped', 'on-failure'])(
    'with the restart policy %s is started again, once, with an event',
    async (restartPolicy) => {
      engine.set('c1', { restartPolicy });
      await kill();
      await passUntil(() => ended.all().length === 0);
      await pass(5_000);
      expect(engine.starts).toEqual(['c1']);
      expect(events).toEqual([
        expect.objectContaining({
          ...{ kind: 'restarted', severity: 'info', volume: 'db' },
          message: expect.stringContaining('started container name-c1 (c1) again'),
        }),
      ]);
    },
  );

  test.each<[why: string, change: Partial<InspectedContainer>]>([
    ['has the restart policy no', { restartPolicy: 'no' }],
    ['is a task of a swarm', { labels: { 'com.docker.swarm.task.id': 't' } }],
    ['is in a pod of Kubernetes', { labels: { 'io.kubernetes.pod.name': 'p' } }],
    ['was started by a person since', { isLive: true, startedAt: laterAt }],
    ['was started and stopped by a person since', { startedAt: laterAt }],
  ])('is forgotten without an event if it %s', async (_why, change) => {
    engine.set('c1', change);
    await kill();
    await passUntil(() => ended.all().length === 0);
    expect(engine.starts).toEqual([]);
    expect(events).toEqual([]);
  });

  test('waits without a call to the engine until its volume is free', async () => {
    free.clear();
    engine.set('c1');
    await kill();
    await pass(10_000);
    expect(engine.starts).toEqual([]);
    expect(engine.inspections).toBe(1);
    free.add('db');
    await passUntil(() => engine.starts.length === 1);
  });

  test('waits until all its volumes are free', async () => {
    engine.set('c1', { volumes: ['db', 'log'] });
    await kill();
    await pass(10_000);
    expect(engine.starts).toEqual([]);
    free.add('log');
    await passUntil(() => engine.starts.length === 1);
  });

  test('is not started if its volume is taken in the moment before', async () => {
    engine.set('c1');
    await kill();
    await passUntil(() => engine.inspections === 2);
    free.clear(); // During the random delay.
    await pass(5_000);
    expect(engine.starts).toEqual([]);
  });

  test('waits until the engine has seen its end', async () => {
    engine.set('c1', { isLive: true });
    await kill();
    await pass(3_000);
    expect(engine.starts).toEqual([]);
    engine.set('c1', { isLive: false });
    await passUntil(() => engine.starts.length === 1);
  });

  test('is started by the next daemon if this one ends', async () => {
    free.clear();
    engine.set('c1');
    await kill();
    await passUntil(() => ended.get('c1')?.seen !== undefined);
    stopping.abort();
    await startDaemon();
    free.add('db');
    await passUntil(() => engine.starts.length === 1);
  });

  test.each<[why: string, message: RegExp, change: () => void]>([
    ['it is removed', /it was removed/, () => engine.containers.delete('c1')],
    [
      'a person starts it',
      /has started it since/,
      () => engine.set('c1', { isLive: true, startedAt: laterAt }),
    ],
    [
      'a person starts and stops it',
      /has started it since/,
      () => engine.set('c1', { startedAt: laterAt }),
    ],
    [
      'a person starts and stops it while the wall clock is behind',
      /has started it since/,
      () => engine.set('c1', { startedAt: '2026-01-01T00:30:00Z' }),
    ],
    [
      'its restart policy becomes no',
      /its restart policy is no/,
      () => engine.set('c1', { restartPolicy: 'no' }),
    ],
  ])('is given up, with an event, if %s while it waits', async (_why, message, change) => {
    free.clear();
    engine.set('c1');
    await kill();
    await passUntil(() => ended.get('c1')?.seen !== undefined);
    change();
    free.add('db');
    await passUntil(() => ended.all().length === 0);
    expect(engine.starts).toEqual([]);
    expect(events).toEqual([
      expect.objectContaining({ kind: 'not-restarted', message: expect.stringMatching(message) }),
    ]);
  });

  test('whose start fails is tried again after a growing pause; the failure is one event', async () => {
    engine.set('c1');
    engine.startFailure = new Error('no such image');
    await kill();
    await passUntil(() => engine.starts.length === 4);
    const [first = 0, second = 0, third = 0, fourth = 0] = engine.startsAtMs;
    expect(third - second).toBeGreaterThan(1.4 * (second - first));
    expect(fourth - third).toBeGreaterThan(1.4 * (third - second));
    expect(kinds()).toEqual(['failed']);
    expect(events[0]?.message).toContain('no such image');
    engine.startFailure = undefined;
    await passUntil(() => kinds().includes('restarted'));
  });

  test('whose start failed is tried at once when its volume was taken and is free again', async () => {
    engine.set('c1');
    engine.startFailure = new Error('volume db is mounted on host n2');
    await kill();
    await passUntil(() => engine.starts.length === 5);
    engine.startFailure = undefined;
    free.clear();
    await pass(2_000);
    free.add('db');
    await pass(4_000);
    expect(kinds()).toContain('restarted');
  });

  test('counts as started again if the answer to the start was lost', async () => {
    engine.set('c1');
    engine.startFailure = new Error('timed out');
    await kill();
    await passUntil(() => engine.starts.length === 1);
    engine.set('c1', { isLive: true, startedAt: laterAt });
    await passUntil(() => ended.all().length === 0);
    expect(kinds()).toEqual(['failed', 'restarted']);
  });

  test('is kept while the engine does not answer', async () => {
    engine.set('c1');
    engine.failure = new Error('no engine');
    await kill();
    await pass(20_000);
    expect(ended.all()).toHaveLength(1);
    engine.failure = undefined;
    await passUntil(() => engine.starts.length === 1);
  });
});

test('two containers of one volume are started one after the other', async () => {
  const started = Promise.withResolvers<void>();
  engine.answer = started.promise;
  engine.set('c1');
  engine.set('c2');
  await kill('c1');
  await kill('c2');
  await passUntil(() => engine.starts.length === 1);
  await pass(10_000);
  expect(engine.starts).toHaveLength(1);
  started.resolve();
  await passUntil(() => engine.starts.length === 2);
});

test('a start that hangs keeps no container of another volume waiting', async () => {
  engine.answer = new Promise(() => {});
  free.add('other');
  engine.set('c1');
  engine.set('c2', { volumes: ['other'] });
  await kill('c1');
  await kill('c2', 'other');
  await passUntil(() => engine.starts.length === 2);
});

test('a container is remembered once for all its volumes, and again for a later end', async () => {
  free.clear();
  engine.set('c1', { volumes: ['db', 'log'] });
  await kill('c1', 'db');
  await kill('c1', 'log', endedAt);
  expect(ended.all()).toEqual([{ id: 'c1', volume: 'db', endedAt }]);
  await kill('c1', 'log', laterAt);
  expect(ended.get('c1')?.endedAt).toBe(laterAt);
});

test('a file that can not be read is ignored, and replaced at the next end', async () => {
  stopping.abort();
  await writeFile(path(), '{"version":2}');
  await startDaemon();
  expect(ended.all()).toEqual([]);
  free.clear();
  engine.set('c1');
  await kill();
  await eventually(async () => {
    expect((await EndedContainers.open(path())).all()).toHaveLength(1);
  });
});
