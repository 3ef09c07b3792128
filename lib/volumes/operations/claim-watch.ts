import createDebug from 'debug';
import type { MirrorEvent, StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { MountStates } from '../mounts/mount-state.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Catalog } from '../records/catalog.ts';
import type { Claim, Claimant, Claims } from '../records/claims.ts';
import { parseClaim, parseClaimKey } from '../records/claims.ts';
import type { Takeovers } from './takeovers.ts';

const log = createDebug('berth:takeover');

export interface ClaimWatchOptions {
  readonly mirror: Pick<StoreMirror, 'listen' | 'records' | 'ticket'>;
  readonly claims: Pick<Claims, 'release'>;
  readonly claimant: Claimant;
  readonly takeovers: Pick<Takeovers, 'settle' | 'noteRelease'>;
  readonly catalog: Pick<Catalog, 'get'>;
  readonly mounts: Pick<Mounts, 'get' | 'requireUnmounted'>;
  readonly states: Pick<MountStates, 'get' | 'lock'>;
  readonly mutex: KeyedMutex;
}

/**
 * Follows the claims in the store. A claim of this host whose mount is not here any more is deleted:
 * its last words did not reach the store, or the host was booted since. When another host's claim on a
 * volume that is mounted here goes, what was put aside for it is settled. When a request of another host
 * ends without its claim while this host holds the lock before it, that host died as it waited: it never
 * had the lock, and its claim is deleted.
 */
export class ClaimWatch {
  readonly #options: ClaimWatchOptions;
  /** This host's claims as the mirror has them, by key. */
  readonly #own = new Map<string, Claim>();
  /** The other hosts' claims that say nothing of a takeover, by mark. */
  readonly #others = new Map<string, Claim>();
  /** The keys of all claims as the mirror has them, by volume. */
  readonly #keys = new Map<string, Set<string>>();

  constructor(options: ClaimWatchOptions) {
    this.#options = options;
  }

  /** Follows the mirror until disposed. */
  follow(): Disposable {
    return this.#options.mirror.listen((event) => this.#note(event));
  }

  /** Returns the keys of all claims on a volume, for its removal: they would outlive it. */
  keysOf(volume: string): readonly string[] {
    return [...(this.#keys.get(volume) ?? [])];
  }

  /**
   * Deletes this host's claims whose mounts have ended. Rejects while the store is away; callers repeat
   * it. Costs nothing while each claim has its mount.
   */
  async settle(): Promise<void> {
    const { mounts, mutex, claims, mirror } = this.#options;
    for (const { volume, mark, boot } of [...this.#own.values()]) {
      // With its ticket, it belongs to a request that waits, or to a mount.
      const isNeeded = () =>
        mirror.ticket(mark) !== undefined || mounts.get(volume)?.mountMark === mark;
      if (isNeeded()) continue;
      await mutex.run(volume, async () => {
        if (isNeeded() || !(await this.#hasEnded(volume, boot))) return;
        await claims.release(volume, mark);
        log('volume=%s: its mount %s has ended', volume, mark);
      });
    }
  }

  /** In another boot, and without any mount of the volume in this one, nothing can write. */
  async #hasEnded(volume: string, boot: string): Promise<boolean> {
    const { claimant, states, mounts } = this.#options;
    if (boot !== claimant.boot) return true;
    if (states.get(volume)?.is === 'found') return false;
    if (mounts.get(volume)) return true; // A later mount of this host, with a claim of its own.
    return mounts.requireUnmounted(volume).then(
      () => true,
      () => false,
    );
  }

  #note(event: MirrorEvent): void {
    if (event.kind !== 'change' && event.kind !== 'reset') return;
    const { records, removedRecords, removedTickets } =
      event.kind === 'change' ? event.change : this.#reset();
    for (const record of records) {
      const volume = parseClaimKey(record.key)?.volume;
      if (volume === undefined) continue;
      this.#keys.set(volume, (this.#keys.get(volume) ?? new Set()).add(record.key));
      const claim = parseClaim(record);
      if (claim) this.#keep(claim);
    }
    for (const key of removedRecords) {
      this.#forget(key);
      if (!this.#own.delete(key)) this.#noteRelease(key);
    }
    for (const { nonce } of removedTickets) {
      const claim = this.#others.get(nonce);
      if (claim) this.#endWaiting(claim);
    }
  }

  /** Begins again with what the mirror has now: claims may have gone while the store was away. */
  #reset() {
    const records = [...this.#options.mirror.records()];
    const present = new Set(records.map(({ key }) => key));
    const known = [...this.#keys.values()].flatMap((keys) => [...keys]);
    this.#own.clear();
    this.#others.clear();
    this.#keys.clear();
    const removedRecords = known.filter((key) => !present.has(key));
    return { records, removedRecords, removedTickets: [] };
  }

  #keep(claim: Claim): void {
    const { owner, mark, takenOver, stored } = claim;
    if (owner === this.#options.claimant.owner) this.#own.set(stored.key, claim);
    else if (takenOver === undefined) this.#others.set(mark, claim);
    else this.#others.delete(mark);
  }

  /**
   * Deletes the claim of a request that was never granted: its ticket is gone, and this host holds the lock
   * of an earlier token at the moment of the deletion, as it did all the time.
   */
  #endWaiting({ volume, token, stored }: Claim): void {
    const { mutex, mounts, states } = this.#options;
    void mutex
      .run(volume, async () => {
        const lock = states.lock(volume);
        if (!lock || lock.token >= token || mounts.get(volume)?.access === 'shared') return;
        const { key, revision: expectedRevision } = stored;
        await lock.guard([{ key, value: undefined, expectedRevision }]);
        log('volume=%s: the host of %s died as it waited', volume, key);
      })
      .catch((error) => log('volume=%s claim %s: %s', volume, stored.key, error));
  }

  #forget(key: string): void {
    const { volume, mark } = parseClaimKey(key) ?? {};
    if (volume === undefined || mark === undefined) return;
    this.#others.delete(mark);
    const keys = this.#keys.get(volume);
    keys?.delete(key);
    if (keys?.size === 0) this.#keys.delete(volume);
  }

  #noteRelease(key: string): void {
    const { mounts, mutex, catalog, takeovers } = this.#options;
    const volume = parseClaimKey(key)?.volume;
    if (volume === undefined) return;
    takeovers.noteRelease(volume, key);
    if (!mounts.get(volume)) return;
    void mutex
      .run(volume, async () => {
        const record = mounts.get(volume) && catalog.get(volume);
        if (record) await takeovers.settle(record);
      })
      .catch((error) => log('volume=%s: %s', volume, error));
  }
}
