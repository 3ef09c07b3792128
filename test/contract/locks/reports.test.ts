// Spans and figures of the lock manager: a real OpenTelemetry tracer, a memory store, real time.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { SpanStatusCode } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { LockObserver } from '../../../lib/lock/observer.ts';
import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import { FaultyStore } from '../../support/faulty-store.ts';
import { manager, queue, take } from '../bench/manager-bench.ts';
import { eventually, exclusive, shortTtlMs } from '../bench/store-bench.ts';

class Figures implements LockObserver {
  readonly lines: string[] = [];
  count: LockObserver['count'] = (what, { reason = '', outcome = '' }) => {
    this.lines.push([what, reason, outcome].filter(Boolean).join(' '));
  };
  measure: LockObserver['measure'] = (what, seconds, { reason = '', outcome = '' }) => {
    if (!(seconds >= 0)) throw new Error(`${what} took ${seconds} s`);
    this.lines.push([what, reason, outcome].filter(Boolean).join(' '));
  };
}

let spans: InMemorySpanExporter;
let figures: Figures;
let network: FaultyStore;
let n1: LockManager;
let n2: LockManager;

beforeEach(() => {
  spans = new InMemorySpanExporter();
  figures = new Figures();
  const spanProcessors = [new SimpleSpanProcessor(spans)];
  const tracer = new BasicTracerProvider({ spanProcessors }).getTracer('test');
  const shared = memoryState();
  network = new FaultyStore(memoryStore({ shared }));
  n1 = manager(network, 'n1', { tracer, observer: figures, ttlMs: shortTtlMs });
  n2 = manager(memoryStore({ shared }), 'n2');
});
afterEach(async () => {
  await n1.close({ keep: false });
  await n2.close({ keep: false });
});

/** Returns the spans that have ended: name, attributes, and the status of an error. */
function ended(): object[] {
  return spans.getFinishedSpans().map(({ name, attributes, status }) => ({
    name,
    ...attributes,
    ...(status.code === SpanStatusCode.ERROR && { error: status.message }),
  }));
}

test('a manager records one span for each request and each unlock', async () => {
  const lock = await take(n1, [exclusive('a'), exclusive('b')]);
  const names = { 'berth.lock.names': ['a', 'b'], 'berth.lock.reason': 'Mount' };
  const token = { 'berth.lock.token': lock.token };
  const acquired = {
    name: 'lock.acquire',
    ...names,
    ...token,
    'berth.lock.waited': false,
    'berth.lock.outcome': 'granted',
  };
  expect(ended()).toEqual([acquired]);
  await lock.unlock();
  await lock.unlock();
  expect(ended()).toEqual([acquired, { name: 'lock.unlock', ...names, ...token }]);
});

test('a manager records on the span that a request waited, and why it failed', async () => {
  const held = await take(n2, 'db');
  await expect(take(n1, 'db', { timeoutMs: 20 })).rejects.toThrow();
  const waiting = await queue(n1, 'db');
  await held.unlock();
  await (await waiting.granted).unlock();
  expect(ended()).toMatchObject(
    [
      { 'berth.lock.waited': true, 'berth.lock.outcome': 'timeout', error: /gave up waiting/ },
      { 'berth.lock.waited': true, 'berth.lock.outcome': 'granted' },
      { name: 'lock.unlock' },
    ].map((span) =>
      'error' in span ? { ...span, error: expect.stringMatching(span.error) } : span,
    ),
  );
});

test('a manager counts requests by outcome and measures their duration', async () => {
  const held = await take(n2, 'db');
  expect(await n1.tryLock([exclusive('db')], { reason: 'Copy' })).toBeUndefined();
  await n2.disable('off');
  await expect(take(n1, 'off')).rejects.toThrow();
  await expect(take(n1, 'db', { signal: AbortSignal.timeout(10) })).rejects.toThrow();
  const throws = () => {
    throw new Error('not now');
  };
  await expect(take(n1, 'db', { onWait: throws })).rejects.toThrow('not now');
  await held.unlock();
  await (await take(n1, 'db')).unlock();
  // On a busy machine the test may last until the first renewal.
  const requests = figures.lines.filter((line) => !line.startsWith('renewal'));
  expect(requests).toEqual(
    [
      ['Copy', 'contended'],
      ['Mount', 'disabled'],
      ['Mount', 'cancelled'],
      ['Mount', 'failed'],
      ['Mount', 'granted'],
    ]
      .flatMap(([reason, outcome]) => [
        `requests ${reason} ${outcome}`,
        `wait ${reason} ${outcome}`,
      ])
      .concat('hold Mount', 'unlock Mount'),
  );
});

test('a manager counts losses and renewals', async () => {
  const lock = await take(n1, 'db');
  await n2.breakLock(lock.ticket);
  await eventually(() => expect(figures.lines).toContain('losses Mount'));
  await eventually(() => expect(figures.lines).toContain('renewals renewed'));
  network.fail('renewSession', 'lost request');
  await eventually(() => expect(figures.lines).toContain('renewals failed'));
  expect(figures.lines).toContain('renewal failed');
  await n2.breakLock(lock.ticket);
  expect(figures.lines.filter((line) => line === 'losses Mount')).toHaveLength(1);
});
