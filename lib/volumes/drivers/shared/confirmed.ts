import type { DriverContext } from '../driver.ts';

/**
 * Rejects unless the store says, after this call has begun, that the caller still holds the lock. Each
 * method that copies calls it right before the step that replaces or deletes what has a final name, because
 * its host may have been frozen, and another may hold the lock. It does not stop a host that is frozen in
 * that very step; `image/stage.ts` does. A Remove does not ask, which would cost half as much as the rest.
 */
export async function confirmed({ signal, lock }: DriverContext): Promise<void> {
  signal.throwIfAborted();
  await lock?.confirm();
  signal.throwIfAborted();
}
