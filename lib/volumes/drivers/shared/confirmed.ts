import { allOf } from '../../../running/all-of.ts';
import type { DriverContext } from '../driver.ts';

/**
 * Rejects unless the store says, after this call has begun, that the caller still holds the lock. Each
 * method that copies calls it right before the step that replaces or deletes what has a final name, because
 * its host may have been frozen, and another may hold the lock. A host that is frozen in that very step is
 * stopped by `image/stage.ts`, or goes through `keptIfConfirmed`.
 */
export async function confirmed({ signal, lock }: DriverContext): Promise<void> {
  signal.throwIfAborted();
  await lock?.confirm();
  signal.throwIfAborted();
}

/**
 * Ends a step that has taken its final name from something, by a rename that can be undone. If the store
 * says that the caller held the lock after that rename, what was renamed was the caller's, however long its
 * host stood still before. Else it runs `undo`, and rejects with what the store said. Runs `beside` at the
 * same time: the sync of the names.
 */
export async function keptIfConfirmed(
  context: DriverContext,
  beside: () => Promise<void>,
  undo: () => Promise<void>,
): Promise<void> {
  try {
    await allOf([confirmed(context), beside()]);
  } catch (error) {
    await undo();
    throw error;
  }
}
