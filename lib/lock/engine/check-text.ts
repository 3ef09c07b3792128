/**
 * Throws RangeError unless every store keeps `text` as it is: half of a surrogate pair has no bytes in
 * UTF-8, so some stores would take two different names for one.
 */
export function checkText(what: string, text: string): void {
  // JavaScript has no types, and a number would fail later, without a word of what it was for.
  if (typeof text !== 'string') throw new RangeError(`${what} is a text, not ${String(text)}`);
  if (text.isWellFormed()) return;
  throw new RangeError(`${what} must be valid Unicode, not ${JSON.stringify(text)}`);
}

/** Throws RangeError unless `name` can be the name of a lock: it is valid text and not empty. */
export function checkLockName(name: string): void {
  if (name === '') throw new RangeError('a lock needs a name');
  checkText('the name of a lock', name);
}
