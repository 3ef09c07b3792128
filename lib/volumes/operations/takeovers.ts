import createDebug from 'debug';
import { RecordConflictError } from '../../lock/errors.ts';
import type { KeptLock } from '../../lock/use/kept-lock.ts';
import type { Clock } from '../../running/clock.ts';
import { never } from '../../running/never.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { FormerOwner, PutAside } from '../drivers/takeover.ts';
import { UnavailableError } from '../errors.ts';
import type { EventKind, EventSink, VolumeEvent } from '../events.ts';
import type { Claim, Claimant, Claims } from '../records/claims.ts';
import { claimsIn, takenOverText } from '../records/claims.ts';
import type { CallContext } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';
import type { FenceCommand } from './fence-command.ts';
import type { Fencing } from './fencing.ts';
import { goneCommand } from './unclean-ends.ts';

const log = createDebug('berth:takeover');

export interface TakeoversOptions {
  readonly claims: Claims;
  readonly claimant: Claimant;
  readonly fencing: Fencing;
  readonly command?: FenceCommand | undefined;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly events: EventSink;
  readonly clock: Clock;
}

/** A lock under which records change. */
type GuardingLock = Pick<KeptLock, 'token' | 'guard' | 'confirm' | 'read' | 'signal'>;

/**
 * Takes a volume over after an unclean end, under its lock and before its mount, so that no write of
 * the former owner reaches it any more; and deletes what was put aside when that owner has let go.
 *
 *     claims of others, older than this lock ──► none: nothing to do, and nothing was written
 *         │
 *         ├─ fencing=host, or nothing better ──► the mount goes on; the claim stays
 *         └─ driver or fence command ──► the claim says `takenOver`, one guarded write
 */
export class Takeovers {
  readonly #options: TakeoversOptions;
  /** The marks whose kept files have been reported. */
  readonly #reported = new Set<string>();
  /** The volumes for which nothing is put aside, as far as is known. */
  readonly #looked = new Set<string>();
  /** Ends the running takeover from each claim, by its key. */
  readonly #running = new Map<string, AbortController>();

  constructor(options: TakeoversOptions) {
    this.#options = options;
  }

  /** Prepares a volume for its mount. When it rejects, the volume must not be mounted. */
  async before(record: VolumeRecord, lock: GuardingLock, context: CallContext): Promise<void> {
    if (record.access === 'shared') return;
    const { claimant } = this.#options;
    const older = claimsIn(lock.read?.below ?? []).filter(({ token }) => token < lock.token);
    const own = older.filter(({ owner }) => owner === claimant.owner);
    if (own.length > 0) {
      // Its kernel is this one, or was this machine's before it was booted again.
      await lock.guard(own.map(({ stored }) => ({ key: stored.key, value: undefined })));
    }
    const others = older.filter(({ owner }) => owner !== claimant.owner);
    for (const claim of others) {
      if (claim.unreadable) throw notReadable(claim, claim.unreadable);
      if (claim.takenOver === undefined) await this.#whileClaimed(record, claim, lock, context);
    }
    if (others.length === 0 && this.#looked.has(record.name)) return;
    void this.settle(record); // Not awaited: the Mount needs nothing of it.
  }

  /**
   * A former owner's claim on the volume has gone: what a takeover from it still waits for is not needed
   * any more, and the next Mount looks for what was put aside.
   */
  noteRelease(volume: string, key: string): void {
    this.#looked.delete(volume);
    this.#running.get(key)?.abort();
  }

  /**
   * Deletes what was put aside for owners that have let go since, if they wrote nothing to it; else
   * tells once where it is. Never rejects.
   *
   * A claim is there before anything is put aside for it, and goes when its owner can't write any more. So it
   * looks for files, then for claims, and then at what was written: the last look sees each write of an
   * owner whose claim was gone. This holds also if the caller stood still and lost the volume's lock.
   */
  async settle(record: VolumeRecord): Promise<void> {
    const { drivers, claims } = this.#options;
    const takeover = drivers.get(record.driver)?.takeover;
    if (!takeover) return;
    try {
      const kept = new Set((await takeover.putAside(record)).map(({ mark }) => mark));
      if (kept.size === 0) {
        this.#looked.add(record.name);
        return;
      }
      for (const { mark } of await claims.of(record.name)) kept.delete(mark);
      if (kept.size === 0) return;
      for (const aside of (await takeover.putAside(record)).filter(({ mark }) => kept.has(mark))) {
        if (aside.writtenAt === undefined) {
          await takeover.discard(record, aside.mark, { signal: never });
          this.#record('info', 'aside', record.name, lettingGo(aside), aside.token);
        } else if (!this.#reported.has(aside.mark)) {
          this.#reported.add(aside.mark);
          this.#record('warning', 'aside', record.name, writtenAside(aside), aside.token);
        }
      }
    } catch (error) {
      log('volume=%s: %s', record.name, error);
    }
  }

  /** Takes over, or stops when the claim goes: then its owner, or an operator, has confirmed more. */
  async #whileClaimed(
    record: VolumeRecord,
    claim: Claim,
    lock: GuardingLock,
    { signal, onProgress }: CallContext,
  ): Promise<void> {
    const { key } = claim.stored;
    const released = new AbortController();
    this.#running.set(key, released);
    // A host that has lost the lock meanwhile must not put its clone in the place of another's.
    const during = AbortSignal.any([signal, lock.signal]);
    try {
      const until = AbortSignal.any([during, released.signal]);
      await this.#takeOver(record, claim, lock, { signal: until, onProgress });
    } catch (error) {
      if (!released.signal.aborted) throw error;
      during.throwIfAborted();
      log('volume=%s the claim of %s has gone: %s', record.name, claim.host, error);
    } finally {
      this.#running.delete(key);
    }
  }

  async #takeOver(
    record: VolumeRecord,
    claim: Claim,
    lock: GuardingLock,
    { signal, onProgress }: CallContext,
  ): Promise<void> {
    const { fencing, command, drivers, claimant, clock } = this.#options;
    await fencing.learn(record.driver);
    const way = fencing.way(record);
    const volume = record.name;
    const former: FormerOwner = claim;
    if (way === 'none') return this.#goOn(record, former);
    if (way === 'command') {
      if (!command) throw new UnavailableError(`there is no fence command for volume ${volume}`);
      await command.end(volume, former, signal);
    } else {
      const takeover = drivers.get(record.driver)?.takeover;
      if (!takeover)
        throw new UnavailableError(`driver ${record.driver} can't take over ${volume}`);
      await takeover.takeOver(record, former, { signal, onProgress, lock });
      this.#record('warning', 'taken-over', volume, takenOver(former), lock.token);
    }
    const how = way === 'command' ? 'command' : 'storage';
    const value = takenOverText(claim, how, claimant.host, clock.date());
    const { key, revision } = claim.stored;
    await lock.guard([{ key, value, expectedRevision: revision }]).catch((error) => {
      if (!(error instanceof RecordConflictError)) throw error;
      // The former owner has just deleted its claim: it has let go.
      log('volume=%s claim of %s: %s', volume, former.host, error);
    });
  }

  /** Mounts without a takeover, unless the volume demands one. */
  #goOn({ name, fencing }: VolumeRecord, { host, token }: FormerOwner): void {
    if (fencing !== 'storage') return;
    throw new UnavailableError(
      `volume ${name} has fencing=storage, and host ${host} did not unmount it, but nothing here can ` +
        "keep that host's writes away: its fence command is not set any more; set it again, or, if that " +
        `host is gone for good: ${goneCommand({ volume: name, token })}`,
    );
  }

  #record(
    severity: VolumeEvent['severity'],
    kind: EventKind,
    volume: string,
    message: string,
    token: number,
  ): void {
    this.#options.events.record({ severity, kind, volume, message, token });
  }
}

/** Refuses a Mount: the writes of a host that is not known can't be kept away. */
function notReadable(claim: Claim, { message }: Error): UnavailableError {
  return new UnavailableError(
    `volume ${claim.volume} is not mounted: ${message}; or, if the host that mounted it is gone for good: ` +
      `${goneCommand(claim)} --force`,
  );
}

function takenOver({ host, since }: FormerOwner): string {
  return (
    `host ${host} had it since ${since} and did not unmount it: taken over onto a clone, so what that ` +
    'host still writes goes aside'
  );
}

function lettingGo({ host }: PutAside): string {
  return `host ${host} has let go and wrote nothing after the takeover: what was put aside is deleted`;
}

/** Says where a person finds what a former owner wrote after the takeover. */
export function writtenAside(aside: PutAside): string {
  const { host, since, writtenAt, path } = aside;
  return (
    `host ${host} wrote ${amountWritten(aside)}to it after it was taken over at ${since}, until ${writtenAt}; that is not in the ` +
    `volume but in ${path}; look at it with: mount -o ro,loop ${path} /mnt; delete the file when nothing ` +
    'of it is needed'
  );
}

/** Says how much was written, with a blank after it; nothing if that is not known. */
export function amountWritten({ writtenBytes }: PutAside): string {
  return writtenBytes === undefined ? '' : `${Math.ceil(writtenBytes / 1024)} KiB `;
}
