import { rename } from 'node:fs/promises';
import { ExistsError, NotFoundError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';
import { childPath } from './child-path.ts';
import { confirmed, keptIfConfirmed } from './confirmed.ts';
import { lookFresh } from './fresh-names.ts';
import { exists, syncNames, syncPath } from './storage-files.ts';

/**
 * Gives the directory of a volume another name, for the method `rename` of a driver whose volumes are directories of
 * `base`. What is mounted inside it stays mounted.
 */
export async function renameHome(
  base: string,
  from: string,
  to: string,
  context: DriverContext,
): Promise<void> {
  context.signal.throwIfAborted();
  const [home, renamed] = [childPath(base, from), childPath(base, to)];
  const look = () => Promise.all([exists(home), exists(renamed)]);
  const [isThere, isRenamed] = await lookFresh([base], look);
  if (isThere && isRenamed) {
    throw new ExistsError(
      `volume ${from} can't get the name ${to}: storage of that name is there; find out whose it is with: ` +
        'berth doctor',
    );
  }
  if (!isThere && !isRenamed) {
    throw new NotFoundError(`the storage of volume ${from} is not there`);
  }
  if (isRenamed) return await syncPath(base);
  await confirmed(context);
  await rename(home, renamed);
  await keptIfConfirmed(
    context,
    () => syncNames(home, renamed),
    () => giveBack(renamed, home),
  );
}

/** Undoes a rename, unless something has got the former name since. */
async function giveBack(renamed: string, home: string): Promise<void> {
  if (await exists(home)) return;
  await rename(renamed, home);
  await syncNames(renamed, home);
}
