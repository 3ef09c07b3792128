import type { OptionKinds } from '../check-options.ts';
import { checkKind, checkOptions } from '../check-options.ts';
import type { LockOptions, TryLockOptions } from '../locks.ts';
import type { RecordWrite, StoredRecord } from '../stores/ticket-store.ts';
import type { PermitRequest } from '../ticket.ts';
import { checkText } from './check-text.ts';
import { checkLimit, checkTtl } from './wait-limit.ts';

const tryOptions = {
  kind: 'a text',
  reason: 'a text',
  holder: 'a text',
  detail: 'a text',
  signal: 'an AbortSignal',
  ttlMs: 'a number',
  maxHoldMs: 'a number',
  mark: 'a text',
  claim: 'an object',
  read: 'a text',
  readBelow: 'a text',
  freesSpace: 'true or false',
  proof: 'a number',
} as const satisfies OptionKinds<Required<TryLockOptions>>;

const lockOptions = {
  ...tryOptions,
  timeoutMs: 'a number',
  onWait: 'a function',
} as const satisfies OptionKinds<Required<LockOptions>>;

/** Throws RangeError unless these can be the options of a request that may wait. */
export function checkLockOptions(options: LockOptions): void {
  checkOptions('a request', options, lockOptions);
  const { mark, claim, read, readBelow, timeoutMs, ttlMs, maxHoldMs } = options;
  for (const key of [mark, claim?.prefix, read, readBelow]) {
    if (key !== undefined) checkText('the key of a record', key);
  }
  if (claim) checkText('the value of a claim', claim.value);
  checkLimit('a time-out', timeoutMs, 0);
  if (ttlMs !== undefined && ttlMs !== Number.POSITIVE_INFINITY) {
    checkTtl('the TTL of a lock', ttlMs, 1_000);
  }
  checkLimit('the longest hold of a lock', maxHoldMs, 1);
}

/** Throws RangeError for an option that only a request that waits has. `checkLockOptions` checks the rest. */
export function checkTryOptions(options: TryLockOptions): void {
  checkOptions('a request that does not wait', options, tryOptions);
}

const namedLock = {
  name: 'a text',
  mode: 'a text',
  permits: 'a number',
} as const satisfies OptionKinds<PermitRequest>;

/** Throws RangeError unless an object names a lock, with a mode and permits of the right kind. */
export function checkNamedLock(named: object): void {
  checkOptions('a lock', named, namedLock);
}

const recordWrite = {
  key: 'a text',
  value: 'a text',
  expectedRevision: 'a number',
  // Has no effect: a write may be made from the record that was read ({ ...record, value }).
  revision: 'a number',
} as const satisfies OptionKinds<Required<RecordWrite & StoredRecord>>;

/** Throws RangeError unless these can be guarded writes: their keys and values are valid text. */
export function checkWrites(writes: readonly RecordWrite[], options: { unlock?: boolean }): void {
  checkKind('what a guard writes', writes, 'a list');
  checkOptions('a guard', options, { unlock: 'true or false' });
  for (const write of writes) {
    checkOptions('a write', write, recordWrite);
    checkText('the key of a record', write.key);
    if (write.value !== undefined) checkText('the value of a record', write.value);
  }
}
