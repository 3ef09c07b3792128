/*
 * The options of the public interface, checked while the program runs: JavaScript has no types, and an option that is
 * misspelled would be left out without a word, e.g. a limit of a wait, or the revision that a record must have.
 */

const isA = {
  'a text': (value: unknown) => typeof value === 'string',
  'a number': (value: unknown) => typeof value === 'number',
  'true or false': (value: unknown) => typeof value === 'boolean',
  'a function': (value: unknown) => typeof value === 'function',
  'an object': isObject,
  'a list': (value: unknown) => Array.isArray(value),
  // A signal may be of another realm or a polyfill, so its class says nothing. A controller is none.
  'an AbortSignal': (value: unknown) =>
    isObject(value) && 'aborted' in value && 'addEventListener' in value,
} as const;

/** The options of one call, each with what its value has to be. */
export type OptionKinds<T> = Readonly<Record<keyof T, keyof typeof isA>>;

/**
 * Throws RangeError unless `given` is an object that has no options but these, with values of these kinds. `what` is
 * the subject of the message: `a request`. An option that is undefined counts as left out.
 */
export function checkOptions<T>(what: string, given: T, kinds: OptionKinds<T>): void {
  if (!isObject(given)) {
    throw new RangeError(`${what} takes its options as an object, not ${shown(given)}`);
  }
  const known: Readonly<Record<string, keyof typeof isA>> = kinds;
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kind === undefined) {
      const names = Object.keys(kinds).sort().join(', ');
      throw new RangeError(`${what} has no option ${name}; it has ${names}`);
    }
    if (isA[kind](value)) continue;
    throw new RangeError(`the option ${name} of ${what} is ${kind}, not ${shown(value)}`);
  }
}

/** Throws RangeError unless a value that is no option is of this kind. `what`: `the name of a lock`. */
export function checkKind(what: string, value: unknown, kind: keyof typeof isA): void {
  if (!isA[kind](value)) throw new RangeError(`${what} is ${kind}, not ${shown(value)}`);
}

/** Throws RangeError unless these can be the options of `close`. */
export function checkClosing(options: { readonly keep?: boolean }): void {
  checkOptions('the closing of locks', options, { keep: 'true or false' });
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Describes a value that is of the wrong kind. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'a list';
  return isObject(value) ? 'an object' : String(value);
}
