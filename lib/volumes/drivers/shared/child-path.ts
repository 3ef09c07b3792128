import { join } from 'node:path';
import { InvalidRequestError } from '../../errors.ts';

/**
 * Returns the path of an entry directly below a directory. Throws InvalidRequestError for a name that is not
 * the name of one entry (`..`, `a/b`, an empty name), and for a hidden one, which berth keeps for
 * itself, unless it may be hidden. Names come
 * from records of the store, which any host of the cluster can write: the readers of records refuse such
 * names, and this is the last check before the storage.
 */
export function childPath(
  directory: string,
  name: string,
  { mayBeHidden } = { mayBeHidden: false },
): string {
  const isEntry = /^[^/\0]{1,255}$/.test(name) && name !== '.' && name !== '..';
  if (isEntry && (mayBeHidden || !name.startsWith('.'))) return join(directory, name);
  throw new InvalidRequestError(
    `${JSON.stringify(name.slice(0, 64))} can't be the name of a volume or of a part of one, so nothing is touched`,
  );
}
