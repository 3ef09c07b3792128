import type { LockOptions } from '../locks.ts';
import type { RecordWrite } from '../stores/ticket-store.ts';

/**
 * Throws RangeError unless every store keeps `text` as it is: half of a surrogate pair has no bytes in
 * UTF-8, so some stores would take two different names for one.
 */
export function checkText(what: string, text: string): void {
  if (text.isWellFormed()) return;
  throw new RangeError(`${what} must be valid Unicode, not ${JSON.stringify(text)}`);
}

/** Throws RangeError unless `name` can be the name of a lock: it is valid text and not empty. */
export function checkLockName(name: string): void {
  if (name === '') throw new RangeError('a lock needs a name');
  checkText('the name of a lock', name);
}

/** Throws RangeError unless the keys and values that a request names are valid text. */
export function checkRequestTexts({ mark, claim, read, readBelow }: LockOptions): void {
  for (const key of [mark, claim?.prefix, read, readBelow]) {
    if (key !== undefined) checkText('the key of a record', key);
  }
  if (claim) checkText('the value of a claim', claim.value);
}

/** Throws RangeError unless the keys and values of all writes are valid text. */
export function checkWrites(writes: readonly RecordWrite[]): void {
  for (const { key, value } of writes) {
    checkText('the key of a record', key);
    if (value !== undefined) checkText('the value of a record', value);
  }
}
