// When a sentinel that does not answer is replaced: looks at its process at given times.
import { beforeEach, expect, test } from '@jest/globals';
import type { ProcessLook } from '../../../../plugin/fencing/liveness.ts';
import { Liveness } from '../../../../plugin/fencing/liveness.ts';

let liveness: Liveness;
let nowMs: number;
beforeEach(() => {
  liveness = new Liveness();
  nowMs = 0;
});

/** Looks each two seconds; `at` says what is seen at the nth look. Returns when a fault was found. */
function faultWithin(seconds: number, at: (n: number) => Partial<ProcessLook>) {
  for (let n = 0; n * 2 <= seconds; n += 1) {
    const fault = faultAt(at(n));
    if (fault !== undefined) return { seconds: n * 2, fault };
    nowMs += 2_000;
  }
  return undefined;
}

function faultAt(seen: Partial<ProcessLook>): string | undefined {
  const look = { pid: 1, started: '5', state: 'S', used: '0', written: '0', ...seen };
  return liveness.fault(look, nowMs);
}

test('a process that is stopped by a signal is replaced at once', () => {
  expect(faultAt({ state: 'T' })).toBe('it is stopped by a signal');
});

test.each(['R', 'S', 'D', 't'])(
  'a process in state %s that uses the processor is waited for',
  (state) => {
    expect(faultWithin(100, (n) => ({ state, used: String(n) }))).toBeUndefined();
  },
);

test('a process that writes its state is waited for, however long it does not answer', () => {
  expect(faultWithin(3_600, (n) => ({ used: String(n), written: String(n) }))).toBeUndefined();
});

test('a process that has not used the processor for 15 s is replaced', () => {
  expect(faultWithin(100, () => ({ state: 'D' }))).toEqual({
    seconds: 16,
    fault: 'it has done nothing for 16 s (process state D)',
  });
});

test('what it does in between begins the 15 s again', () => {
  expect(faultWithin(100, (n) => ({ used: n < 7 ? 'a' : 'b' }))?.seconds).toBe(30);
});

test('a process in an endless loop is replaced after 120 s', () => {
  expect(faultWithin(600, (n) => ({ state: 'R', used: String(n) }))).toEqual({
    seconds: 120,
    fault: 'it has used the processor for 120 s without an answer',
  });
});

test('the time in which nobody looked does not count', () => {
  faultAt({});
  nowMs += 3_600_000;
  expect(faultAt({})).toBeUndefined();
});

test('another process with the same ID begins from the start', () => {
  expect(faultWithin(60, (n) => ({ started: n < 6 ? 'one' : 'two' }))?.seconds).toBe(12 + 16);
});
