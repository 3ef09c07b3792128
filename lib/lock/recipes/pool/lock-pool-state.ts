import { z } from 'zod';

/** Which numbers of a pool belong to whom. */
export interface PoolState {
  readonly capacity: number;
  /** By number; what is not there is free. */
  readonly owners: ReadonlyMap<number, string>;
}

const stateSchema = z.object({
  version: z.literal(1),
  /** Of the lock under which it was written: makes each value unique to its write. */
  token: z.number().int(),
  capacity: z.number().int().positive(),
  owners: z.array(z.tuple([z.number().int().nonnegative(), z.string()])),
});

export function formatPoolState({ capacity, owners }: PoolState, token: number): string {
  const sorted = [...owners].sort(([a], [b]) => a - b);
  return JSON.stringify({
    version: 1,
    token,
    capacity,
    owners: sorted,
  } satisfies z.input<typeof stateSchema>);
}

/** Throws on anything but what `formatPoolState` makes. */
export function parsePoolState(text: string): PoolState {
  const { capacity, owners } = stateSchema.parse(JSON.parse(text));
  return { capacity, owners: new Map(owners) };
}

/** The lowest number that is free. */
export function lowestFree({ capacity, owners }: PoolState): number | undefined {
  for (let id = 0; id < capacity; id += 1) if (!owners.has(id)) return id;
  return undefined;
}

/** A number that does not mean one object, its owner. */
export interface PoolConflict {
  readonly id: number;
  /** The objects that use it. When they are several, they wait for each other without need. */
  readonly users: readonly string[];
  /** Whom it is allocated to; undefined when it is free. */
  readonly owner: string | undefined;
}

/** The numbers that several objects use, or one that is not their owner; by number. */
export function conflictsIn(
  { owners }: PoolState,
  uses: ReadonlyMap<string, number>,
): PoolConflict[] {
  const users = Map.groupBy(uses.keys(), (object) => uses.get(object) ?? Number.NaN);
  return [...users]
    .map(([id, objects]) => ({ id, users: objects, owner: owners.get(id) }))
    .filter(({ users: [first, second], owner }) => second !== undefined || first !== owner)
    .sort((a, b) => a.id - b.id);
}
