import { z } from 'zod';

/** The allocated numbers of a pool, with their owners. */
export interface PoolState {
  readonly capacity: number;
  /** Owners by number; a missing number is free. */
  readonly owners: ReadonlyMap<number, string>;
}

/**
 * Version 2 is written while numbers are leased. An earlier release, which knows no leases, would give these numbers to
 * others; it reads only version 1.
 */
const stateSchema = z.object({
  version: z.literal([1, 2]),
  /** The token of the lock under which the state was written; makes each value unique. */
  token: z.number().int(),
  capacity: z.number().int().positive(),
  owners: z.array(z.tuple([z.number().int().nonnegative(), z.string()])),
});

/** The state of a pool, as it is written. */
export interface WrittenState extends PoolState {
  readonly hasLeases: boolean;
  /** The token of the lock under which the state is written. */
  readonly token: number;
}

export function formatPoolState({ capacity, owners, hasLeases, token }: WrittenState): string {
  const sorted = [...owners].sort(([a], [b]) => a - b);
  return JSON.stringify({
    version: hasLeases ? 2 : 1,
    token,
    capacity,
    owners: sorted,
  } satisfies z.input<typeof stateSchema>);
}

/** Parses the result of `formatPoolState`; throws on other text. */
export function parsePoolState(text: string): PoolState {
  const { capacity, owners } = stateSchema.parse(JSON.parse(text));
  return { capacity, owners: new Map(owners) };
}

/** Returns the lowest free number. */
export function lowestFree({ capacity, owners }: PoolState): number | undefined {
  for (let id = 0; id < capacity; id += 1) if (!owners.has(id)) return id;
  return undefined;
}

/** A number that is not used by exactly one object, its owner. */
export interface PoolConflict {
  readonly id: number;
  /** The objects that use the number. Several objects wait for each other without need. */
  readonly users: readonly string[];
  /** The owner; undefined if the number is free. */
  readonly owner: string | undefined;
}

/** Returns the numbers that several objects use, or one that is not the owner; by number. */
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
