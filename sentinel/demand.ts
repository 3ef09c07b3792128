import type { User } from './ports.ts';
import type { WatchedVolume } from './watch.ts';
import type { Wish } from './wish.ts';
import { mayRun } from './wish.ts';

interface WishedVolume {
  readonly watched: Pick<WatchedVolume, 'onLost'>;
  readonly wish: Wish;
}

/** The strictest wish of all volumes of a user. */
export type Demand = 'run' | 'stand still for a copy' | 'stand still' | 'end';

/** Returns what all volumes of a user together ask of it. */
export function demandOn(user: User, volumes: ReadonlyMap<string, WishedVolume>): Demand {
  const demands = user.volumes.map((name): Demand => {
    if (name === unknownVolume) return 'stand still';
    const volume = volumes.get(name);
    if (!volume || mayRun(volume.wish)) return 'run';
    if (volume.wish === 'copy') return 'stand still for a copy';
    if (volume.wish === 'end' || volume.watched.onLost === 'stop') return 'end';
    return 'stand still';
  });
  return strictest.find((demand) => demands.includes(demand)) ?? 'run';
}

const strictest = ['end', 'stand still', 'stand still for a copy'] as const;

/** The volume of a user that an earlier sentinel has stopped, for a volume that nobody knows. */
export const unknownVolume = '?';
