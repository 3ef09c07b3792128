/**
 * Escapes a part of a lock's name, so that two different lists of parts, joined by `/`, never give
 * the same name. Throws RangeError for a part that is empty or not valid Unicode.
 */
export function namePart(text: string): string {
  if (typeof text !== 'string' || text === '' || !text.isWellFormed()) {
    throw new RangeError(`a name must be valid text and not empty: ${JSON.stringify(text)}`);
  }
  return encodeURIComponent(text);
}
