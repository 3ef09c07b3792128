import { z } from 'zod';
import type { StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import { plainText, readStored, UnreadableRecordError } from '../stored-text.ts';

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

/** A name that may become a part of a path. */
const hostSchema = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/);

/** How the writes of a former owner were kept from the volume. */
const takenOverSchema = z.object({
  /** The token of the former owner's ticket: the record's revision has changed since. */
  token: z.int(),
  /** `storage`: the driver's takeover; `command`: the fence command. */
  how: z.enum(['storage', 'command']),
  /** The host that did it, and when (RFC 3339). */
  by: plainText,
  at: plainText,
});

const claimSchema = z.object({
  /** The format; absent: 1. */
  version: z.literal(1).optional(),
  /** The identity of the host. */
  owner: plainText,
  /** The name of the host, for people, for the fence command, and for file names. */
  host: hostSchema,
  addresses: z.array(plainText).default([]),
  boot: plainText,
  /** RFC 3339, by that host's clock. */
  since: plainText,
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
  /**
   * Present: this release can't read the claim. It stands for a Mount of a host that is not known, so it counts as
   * one that may still write, and nothing is taken over from it.
   */
  readonly unreadable?: UnreadableRecordError;
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
  readonly #owner: string;

  /** `owner`: the identity of this host. */
  constructor(store: Pick<TicketStore, 'records' | 'commit'>, owner: string) {
    this.#store = store;
    this.#owner = owner;
  }

  /** Reads the claims on a volume from the store (linearizable), oldest first. */
  async of(volume: string): Promise<Claim[]> {
    return claimsIn(await this.#store.records(claimPrefix(volume)));
  }

  /**
   * Does the same for a Mount of this host, of which the mount table of another boot may tell. Keeps the
   * claim of another host: a copy of a machine brings the table along.
   */
  async releaseOwn(volume: string, mark: string): Promise<void> {
    const claim = (await this.of(volume)).find((each) => each.mark === mark);
    if (claim?.owner === this.#owner) await this.release(volume, mark);
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

/** Reads a claim, also one whose value this release can't use; undefined for a record that is none. */
export function parseClaim(stored: StoredRecord): Claim | undefined {
  const named = parseClaimKey(stored.key);
  if (!named) return undefined;
  try {
    const what = `a claim on volume ${named.volume}`;
    const value = readStored(stored, claimSchema, { what });
    const token = value.takenOver?.token ?? stored.revision;
    return { ...value, ...named, token, stored };
  } catch (error) {
    if (!(error instanceof UnreadableRecordError)) throw error;
    return { ...unknownClaimant, ...named, token: stored.revision, stored, unreadable: error };
  }
}

/** The host of a claim that can't be read: no host has this identity, so no host takes the claim for its own. */
const unknownClaimant = { owner: '', host: 'unknown', addresses: [], boot: '', since: '' };
