import { setImmediate as settled } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { VolumeEvent } from '../../../../../lib/volumes/events.ts';
import { silenceConditions } from '../../../../../lib/volumes/silence.ts';
import type { CallKind } from '../../../../../lib/volumes/worker/calls.ts';
import { Lanes } from '../../../../../lib/volumes/worker/lanes.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const never = new AbortController().signal;
const limitMs = 20_000;

function kind(volume: string, more: Partial<CallKind> = {}): CallKind {
  return {
    ...{ lane: `change ${volume}`, volumes: [volume], work: 'mount', limitMs },
    ...{ isRead: false, isAlwaysTried: false },
    ...more,
  };
}

/** A worker that the test starts and ends at will; the first one starts at once. */
class FakeWorker {
  hasEnded = false;
  readonly started = Promise.withResolvers<void>();
  get ready() {
    return this.started.promise;
  }
  async end() {
    this.hasEnded = true;
  }
}

function makeBench({ startsAtOnce = true } = {}) {
  const clock = new ManualClock();
  const workers: FakeWorker[] = [];
  const events: VolumeEvent[] = [];
  const lanes = new Lanes<FakeWorker>({
    start: () => {
      const worker = new FakeWorker();
      if (workers.length === 0 && startsAtOnce) worker.started.resolve();
      workers.push(worker);
      return worker;
    },
    clock,
    events: { record: (event) => void events.push(event) },
  });
  return { clock, workers, events, lanes };
}

/** Begins a call that ends when the test says so. */
function begin(lanes: Lanes<FakeWorker>, call: CallKind, signal = never) {
  const end = Promise.withResolvers<string>();
  let worker: FakeWorker | undefined;
  let moved = () => {};
  const answer = lanes.run(call, signal, (its, move) => {
    worker = its;
    moved = move;
    return end.promise;
  });
  answer.catch(() => {});
  return { answer, end, move: () => moved(), worker: () => worker };
}

test('calls of one volume run in order, and those of another do not wait', async () => {
  const { lanes, workers } = makeBench();
  const first = begin(lanes, kind('db'));
  const second = begin(lanes, kind('db'));
  const other = begin(lanes, kind('web'));
  await settled();
  expect([first, second, other].map(({ worker }) => worker() !== undefined)).toEqual([
    true,
    false,
    true,
  ]);
  first.end.resolve('first');
  await expect(first.answer).resolves.toBe('first');
  await settled();
  expect(second.worker()).toBe(workers[0]);
  second.end.reject(new Error('no'));
  await expect(second.answer).rejects.toThrow('no');
  other.end.resolve('');
  await other.answer;
  expect(workers).toHaveLength(1);
});

test('a call that is aborted while it waits for its turn never begins', async () => {
  const { lanes } = makeBench();
  const first = begin(lanes, kind('db'));
  const gaveUp = new AbortController();
  const second = begin(lanes, kind('db'), gaveUp.signal);
  const third = begin(lanes, kind('db'));
  await settled();
  gaveUp.abort(new Error('gave up'));
  await expect(second.answer).rejects.toThrow('gave up');
  first.end.resolve('');
  await settled();
  expect(second.worker()).toBeUndefined();
  expect(third.worker()).toBeDefined();
});

test('the time that a worker takes to start does not count', async () => {
  const { lanes, clock, workers } = makeBench({ startsAtOnce: false });
  begin(lanes, kind('db'));
  await clock.pass(2 * limitMs);
  expect(lanes.all()).toEqual([]);
  workers[0]?.started.resolve();
  await settled();
  await clock.pass(limitMs);
  expect(lanes.all()).toHaveLength(1);
});

test('storage that does not answer is named, and calls on it fail until it answers', async () => {
  const { lanes, clock, events } = makeBench();
  const hung = begin(lanes, kind('db'));
  const queued = begin(lanes, kind('db'));
  await clock.pass(limitMs - 1);
  expect(lanes.all()).toEqual([]);
  await clock.pass(1);
  const silence = {
    volume: 'db',
    work: 'mount',
    isRead: false,
    since: new Date(Date.UTC(2026, 0, 1)),
  };
  expect(lanes.of('db')).toEqual(silence);
  expect(silenceConditions(lanes)).toMatchObject([
    {
      severity: 'warning',
      message: expect.stringContaining('volume db does not answer since 2026'),
    },
  ]);
  await expect(queued.answer).rejects.toMatchObject({ code: 'unavailable' });
  await expect(begin(lanes, kind('db')).answer).rejects.toThrow('does not answer');
  await expect(begin(lanes, kind('db', { lane: 'read db' })).answer).rejects.toThrow();
  // Its own promise waits for its end: until then its locks must stay.
  const answered = await Promise.race([hung.answer.then(() => true), settled(false)]);
  expect(answered).toBe(false);

  hung.end.resolve('at last');
  await expect(hung.answer).resolves.toBe('at last');
  expect(lanes.all()).toEqual([]);
  expect(events.map((event) => `${event.kind} ${event.volume}`)).toEqual([
    'silent db',
    'answered db',
  ]);
  const after = begin(lanes, kind('db'));
  after.end.resolve('well');
  await expect(after.answer).resolves.toBe('well');
});

test('an unmount is tried although a copy of the volume is silent, and not behind a silent change', async () => {
  const { lanes, clock } = makeBench();
  begin(lanes, kind('db', { lane: 'copy db' }));
  await clock.pass(limitMs);
  const unmount = begin(lanes, kind('db', { isAlwaysTried: true }));
  await settled();
  expect(unmount.worker()).toBeDefined();
  await clock.pass(limitMs);
  await expect(begin(lanes, kind('db', { isAlwaysTried: true })).answer).rejects.toThrow();
});

test('a call that moves is not silent, however long it takes', async () => {
  const { lanes, clock } = makeBench();
  const copy = begin(lanes, kind('db'));
  for (let step = 0; step < 20; step++) {
    await clock.pass(limitMs / 2);
    copy.move();
  }
  expect(lanes.all()).toEqual([]);
  await clock.pass(limitMs * 2);
  expect(lanes.of('db')).toBeDefined();
});

test('the time for which the daemon stood still does not count', async () => {
  const { lanes, clock } = makeBench();
  begin(lanes, kind('db'));
  await settled();
  clock.advance(limitMs * 10); // As after a stop: one timer is due, and the answer not read yet.
  await settled();
  expect(lanes.all()).toEqual([]);
});

test('a call that only reads rejects at its limit', async () => {
  const { lanes, clock } = makeBench();
  const read = begin(lanes, kind('db', { isRead: true }));
  const next = begin(lanes, kind('db', { isRead: true }));
  await clock.pass(limitMs);
  await expect(read.answer).rejects.toThrow('does not answer');
  await expect(next.answer).rejects.toThrow('does not answer');
  expect(lanes.of('db')).toBeDefined();
  read.end.resolve('too late');
  await settled();
  expect(lanes.of('db')).toBeUndefined();
});

test('other volumes move to a new worker, and the old one ends after its last answer', async () => {
  const { lanes, clock, workers } = makeBench();
  const hung = begin(lanes, kind('db'));
  await clock.pass(limitMs / 2);
  const slow = begin(lanes, kind('slow'));
  await clock.pass(limitMs / 2);
  const [old, next] = workers;
  const early = begin(lanes, kind('web'));
  await settled();
  expect(early.worker()).toBe(old); // The new one has not started yet.
  early.end.resolve('');
  next?.started.resolve();
  await settled();
  const late = begin(lanes, kind('web'));
  await settled();
  expect(late.worker()).toBe(next);
  slow.end.resolve('');
  await slow.answer;
  expect(old?.hasEnded).toBe(false);
  hung.end.resolve('');
  await hung.answer;
  await settled();
  expect(old?.hasEnded).toBe(true);
  expect(next?.hasEnded).toBe(false);
});

test('at most three workers are set aside, however many volumes hang', async () => {
  const { lanes, clock, workers } = makeBench();
  for (let volume = 0; volume < 20; volume++) {
    const hung = begin(lanes, kind(`db${volume}`));
    await clock.pass(limitMs);
    for (const worker of workers) worker.started.resolve();
    await settled();
    for (let again = 0; again < 50; again++) {
      await expect(begin(lanes, kind(`db${volume}`)).answer).rejects.toThrow('does not answer');
    }
    expect(hung.worker()).toBeDefined();
  }
  expect(workers).toHaveLength(4);
  expect(lanes.all()).toHaveLength(20);
});

test('the next call after the end of a worker starts another one', async () => {
  const { lanes, workers } = makeBench();
  const first = begin(lanes, kind('db'));
  await settled();
  await workers[0]?.end();
  first.end.reject(new Error('the worker ended'));
  await expect(first.answer).rejects.toThrow('the worker ended');
  const second = begin(lanes, kind('db'));
  await settled();
  expect(second.worker()).toBe(workers[1]);
});

test('closed lanes begin no call, and start no worker', async () => {
  const { lanes, workers, clock } = makeBench();
  const first = begin(lanes, kind('db'));
  const waiting = begin(lanes, kind('db'));
  await settled();
  await lanes[Symbol.asyncDispose]();
  await expect(waiting.answer).rejects.toMatchObject({ code: 'unavailable' });
  await expect(begin(lanes, kind('web')).answer).rejects.toThrow('berth is stopping');
  await clock.pass(limitMs);
  expect(lanes.all()).toEqual([]);
  first.end.resolve('');
  await settled();
  expect(workers).toMatchObject([{ hasEnded: true }]);
});
