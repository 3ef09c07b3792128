/**
 * Waits for all, whatever happens to each, and returns their results; rejects as the first in the list
 * that has failed.
 */
export async function allOf<T extends readonly unknown[]>(
  works: {
    readonly [K in keyof T]: PromiseLike<T[K]>;
  },
): Promise<T> {
  const results: unknown[] = [];
  for (const outcome of await Promise.allSettled(works)) {
    if (outcome.status === 'rejected') throw outcome.reason;
    results.push(outcome.value);
  }
  return results as unknown as T;
}
