/**
 * A part of a lock's name, escaped so that two different lists of parts, joined by `/`, never make
 * the same name. Throws RangeError for a part that is empty or not valid Unicode.
 */
export function namePart(text: string): string {
  if (text === '' || !text.isWellFormed()) {
    throw new RangeError(`a name has to be text, and not empty: ${JSON.stringify(text)}`);
  }
  return encodeURIComponent(text);
}
