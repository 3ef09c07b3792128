// The checker of simulated histories with a store that is put back; no engine, no store, times are given by hand.
import { expect, test } from '@jest/globals';
import { violationsOf } from './check-history.ts';
import type { Happening } from './history.ts';

function messages(...happenings: readonly Happening[]): string[] {
  return violationsOf(happenings.map((happening, index) => ({ ...happening, at: index }))).map(
    ({ message }) => message,
  );
}

const locks = [{ name: 'a', mode: 'exclusive' as const }];
const opened: Happening = { kind: 'opened', session: 's', ttlMs: 1e6 };

/** The events of host `n1` or `n2` and its request, `r1` or `r2`. */
function of(number: 1 | 2) {
  const [host, request] = [`n${number}`, `r${number}`];
  return {
    requested: { kind: 'requested', request, host, limits: { locks } } satisfies Happening,
    queued: (token: number): Happening => {
      return { kind: 'queued', token, nonce: `nonce ${token}`, request, session: 's', locks };
    },
    granted: (token: number): Happening => {
      const answer = { method: 'enqueue', answer: 'granted', blockers: [] } as const;
      return { kind: 'answered', host, request, token, ...answer };
    },
    held: (token: number): Happening => {
      return { kind: 'held', request, host, token, locks, listens: true };
    },
    notified: { kind: 'notified', request, host } satisfies Happening,
    released: { kind: 'released', request, host } satisfies Happening,
    fault: { kind: 'fault', host, what: 'the store was put back' } satisfies Happening,
  };
}

const [one, two] = [of(1), of(2)];
/** The first host holds the lock. */
const start = [opened, one.requested, one.queued(1), one.granted(1), one.held(1)];
const restored = 1_000_000;

function putBack(...standing: readonly number[]): Happening & { readonly kind: 'put back' } {
  return { kind: 'put back', standing, expiries: [['s', 1e6]], closedGates: [] };
}

function removed(token: number): Happening {
  return { kind: 'removed', token, cause: { method: 'remove', host: 'n1', tokens: [token] } };
}

test('the checker accepts a lock that is put back', () => {
  const again = restored + 1;
  const later = [one.queued(again), one.granted(again), one.held(again)];
  expect(messages(...start, one.fault, putBack(), one.notified, ...later)).toEqual([]);
  expect(messages(...start, one.fault, putBack(1), one.notified, one.held(1))).toEqual([]);
});

test('the checker finds two holders, of whom the store has forgotten one', () => {
  const next = [two.requested, two.queued(restored), two.granted(restored), two.held(restored)];
  const found = messages(...start, one.fault, two.fault, putBack(), ...next);
  expect(found).toContain(`honesty: r1 believes in token 1 when ${restored} is granted`);
  expect(found).toContain('exclusion: r2 and r1 hold at once');
});

test('the checker finds a lock that is taken back although another had it in the past that is gone', () => {
  const other = [two.requested, two.queued(2), two.granted(2), two.held(2), two.released];
  const before = [...start, one.fault, two.fault, one.notified, removed(1), ...other, removed(2)];
  expect(messages(...before, putBack(1), one.held(1))).toEqual([
    'honesty: r1 believed in token 1 after 2 of r2 was granted when handed over',
  ]);
});

test('the checker knows the tickets that stand again', () => {
  const next = [two.requested, two.queued(restored), two.granted(restored)];
  const before = [...start, one.notified, removed(1), one.fault, two.fault];
  expect(messages(...before, putBack(), ...next)).toEqual([]);
  expect(messages(...before, putBack(1), ...next)).toContain(
    `exclusion: token ${restored} of r2 was granted while token 1 of r1 holds`,
  );
});

test('the checker knows the gates that are closed again', () => {
  const message = 'a is disabled';
  const failed = { kind: 'failed', request: 'r1', code: 'disabled', message, waitedMs: 1 } as const;
  expect(messages(one.requested, { ...putBack(), closedGates: ['a'] }, failed)).toEqual([]);
  expect(messages(one.requested, putBack(), failed)).toHaveLength(1);
});
