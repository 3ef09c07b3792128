import { NotFoundError } from '../errors.ts';
import type { RemovedVolume } from '../records/removed-volumes.ts';
import { formatEntry } from '../trash-entry.ts';

/**
 * Returns the removed volume that a person has named: by its ID, by the time of its Remove to the second, or
 * the last one of its name. Throws NotFoundError, which lists those that there are. Pure.
 */
export function chosen(
  all: readonly RemovedVolume[],
  volume: string,
  which: string | undefined,
): RemovedVolume {
  const ofName = all.filter((removed) => removed.volume === volume);
  const second = which === undefined ? undefined : secondOf(which);
  const fits = ({ id, removedAt }: RemovedVolume) =>
    which === undefined || id === which || (second !== undefined && secondOf(removedAt) === second);
  const found = ofName.findLast(fits);
  if (found) return found;
  const entries = ofName.map((each) => `${formatEntry(each)} (removed at ${each.removedAt})`);
  const there = entries.length > 0 ? `; there are: ${entries.join(', ')}` : '';
  const what = which === undefined ? `volume ${volume}` : `${volume}@${which}`;
  throw new NotFoundError(`${what} is not in the trash${there}`);
}

/** Returns the second of a time since 1970; undefined for a text that is no time. */
function secondOf(time: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\dT/.test(time)) return undefined;
  const ms = Date.parse(time);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}
