/**
 * How a task holds a mount: bits, because it may hold one in several ways.
 *
 * - `directory`: its root, its working directory or a descriptor of a directory: it can open files
 *   there at any time.
 * - `forWriting`: a file open for writing.
 * - `forReading`: a file open for reading. It keeps the mount busy. Its holder can open the file again
 *   for writing by way of /proc/self/fd where the file's mode allows that.
 */
export const holds = { directory: 1, forWriting: 2, forReading: 4 } as const;

/** The kernel's numbers of the mounts that a task holds, with the bits of `holds`. */
export type Holdings = ReadonlyMap<number, number>;

/** Keeps one copy of equal holdings, so that decisions about thousands of equal tasks are made once. */
export class SharedHoldings {
  #known = new Map<string, Holdings>();

  of(held: Holdings): Holdings {
    const key = keyOf(held);
    const known = this.#known.get(key);
    if (known) return known;
    this.#known.set(key, held);
    return held;
  }

  /** Forgets all but these. */
  keep(used: Iterable<Holdings>): void {
    this.#known = new Map([...new Set(used)].map((held) => [keyOf(held), held]));
  }
}

function keyOf(held: Holdings): string {
  const entries = [...held].map(([id, bits]) => `${id}:${bits}`);
  return entries.sort().join();
}
