import { createHash } from 'node:crypto';

const prefix = 'permanent-';

/**
 * Returns the id of an owner's **permanent session**. Its tickets have no lease: they outlive their
 * host and stand until somebody removes them. The id follows from the owner alone, so a later
 * process of that owner finds the tickets although it has stored nothing.
 */
export function permanentSessionOf(owner: string): string {
  return prefix + createHash('sha256').update(owner).digest('hex').slice(0, 32);
}

export function isPermanent(session: string): boolean {
  return session.startsWith(prefix);
}
