import { StorageSilentError } from '../silence.ts';
import type { Outcome } from './finding.ts';
import { found } from './finding.ts';

/** Examines something, and says so when its storage does not answer: the others are still examined. */
export async function orSilent(
  what: string,
  examine: () => Promise<Outcome[]>,
): Promise<Outcome[]> {
  try {
    return await examine();
  } catch (error) {
    if (!(error instanceof StorageSilentError)) throw error;
    const message = 'could not be examined, because its storage does not answer';
    const next = ['look at the file system of the volume directory, then run berth doctor again'];
    return [found({ kind: 'silent-storage', what, message, next })];
  }
}
