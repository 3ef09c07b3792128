import { z } from 'zod';
import type { StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';

/**
 * **Claims.** Each Mount that excludes other hosts leaves a claim in the step that queues its ticket,
 * and the step that releases the ticket after the unmount deletes the claim. A ticket can also go
 * without an unmount: its host died, was frozen or cut off, or an operator cleared the lock. The claim
 * then stays, and the next host sees an **unclean end**: the former host may still write.
 *
 *     Mount of A     ticket + claims/db/MARK-A                       one step
 *     Unmount of A   neither                                         one step: a clean end
 *     A is frozen    claims/db/MARK-A stands, its ticket is gone     an unclean end
 *     B takes over   claims/db/MARK-A says `takenOver`               A's writes can't reach the volume
 *     A lets go      claims/db/MARK-A is gone                        nothing of A can write any more
 *
 * A claim of this host's own identity is no unclean end for this host: its kernel has the mount, or was
 * booted since. A host that died while it waited for the lock has a claim, too: the holder of the lock
 * deletes it (claim-watch.ts). If that holder ends first, it counts as an unclean end, the safe side.
 */

/** How the writes of a former owner were kept from the volume. */
const takenOverSchema = z.object({
  /** The token of the former owner's ticket: the record's revision has changed since. */
  token: z.number(),
  /** `storage`: the driver's takeover; `command`: the fence command. */
  how: z.enum(['storage', 'command']),
  /** The host that did it, and when (RFC 3339). */
  by: z.string(),
  at: z.string(),
});

const claimSchema = z.object({
  /** The identity of the host. */
  owner: z.string(),
  /** The name of the host, for people, for the fence command, and for file names. */
  host: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/),
  addresses: z.array(z.string()).default([]),
  boot: z.string(),
  /** RFC 3339, by that host's clock. */
  since: z.string(),
  takenOver: takenOverSchema.optional(),
});

type ClaimValue = z.infer<typeof claimSchema>;

export interface Claim extends ClaimValue {
  readonly volume: string;
  /** The mount mark of the Mount that left it. */
  readonly mark: string;
  /** The token of that Mount. */
  readonly token: number;
  readonly stored: StoredRecord;
}

/** This host, as its claims name it. */
export type Claimant = Pick<ClaimValue, 'owner' | 'host' | 'addresses' | 'boot'>;

const keyPrefix = 'claims/';

/** Returns the prefix of the keys of a volume's claims; the mount mark completes a key. */
export function claimPrefix(volume: string): string {
  return `${keyPrefix}${volume}/`;
}

/** Returns the key of the claim of one Mount; undefined for a Mount that leaves none. */
export function claimKey(volume: string, mark: string | undefined): string | undefined {
  return mark === undefined ? undefined : claimPrefix(volume) + mark;
}

/** Returns the text of a new claim. */
export function claimText(claimant: Claimant, since: Date): string {
  return JSON.stringify({ ...claimant, since: since.toISOString() } satisfies ClaimValue);
}

/** Returns the text of a claim whose owner can't write to the volume any more. */
export function takenOverText(claim: Claim, how: 'storage' | 'command', by: string, at: Date) {
  const { owner, host, addresses, boot, since, token } = claim;
  const takenOver = { token, how, by, at: at.toISOString() };
  return JSON.stringify({ owner, host, addresses, boot, since, takenOver } satisfies ClaimValue);
}

/** Reads claims from the store, and deletes those of this host. */
export class Claims {
  readonly #store: Pick<TicketStore, 'records' | 'commit'>;

  constructor(store: Pick<TicketStore, 'records' | 'commit'>) {
    this.#store = store;
  }

  /** Reads the claims on a volume from the store (linearizable), oldest first. */
  async of(volume: string): Promise<Claim[]> {
    return claimsIn(await this.#store.records(claimPrefix(volume)));
  }

  /** Deletes a claim: nothing of its Mount can write any more. Resolves also if it is gone. */
  async release(volume: string, mark: string): Promise<void> {
    const key = claimPrefix(volume) + mark;
    const writes = [{ key, value: undefined }];
    await this.#store.commit({ guards: [], writes, release: [] });
  }
}

/** Returns the volume and the mark of a claim's key; undefined for the key of another record. */
export function parseClaimKey(key: string): { volume: string; mark: string } | undefined {
  // The names become parts of paths.
  const match = /^claims\/([A-Za-z0-9][A-Za-z0-9_.-]{0,127})\/([A-Za-z0-9-]{1,64})$/.exec(key);
  const [, volume, mark] = match ?? [];
  return volume !== undefined && mark !== undefined ? { volume, mark } : undefined;
}

/** Returns the claims among records, oldest first. */
export function claimsIn(records: readonly StoredRecord[]): Claim[] {
  return records.flatMap((record) => parseClaim(record) ?? []).sort((a, b) => a.token - b.token);
}

/** Reads a claim; undefined for a record that is none, or that this release can't read. */
export function parseClaim(stored: StoredRecord): Claim | undefined {
  const named = parseClaimKey(stored.key);
  if (!named) return undefined;
  const value = claimSchema.safeParse(jsonOf(stored.value));
  if (!value.success) return undefined;
  const token = value.data.takenOver?.token ?? stored.revision;
  return { ...value.data, ...named, token, stored };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
