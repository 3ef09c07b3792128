import { createHash } from 'node:crypto';

const prefix = 'permanent-';

/**
 * The id of an owner's **permanent session**, whose tickets have no lease: they outlive their host,
 * and stand until somebody removes them. It follows from the owner alone, so that whoever comes back
 * as that owner finds its tickets again although it has remembered nothing.
 */
export function permanentSessionOf(owner: string): string {
  return prefix + createHash('sha256').update(owner).digest('hex').slice(0, 32);
}

export function isPermanent(session: string): boolean {
  return session.startsWith(prefix);
}
