import createDebug from 'debug';
import type { Lock } from '../../lock/lock.ts';
import type { RecordNote } from '../../lock/stores/ticket-store.ts';
import { allOf } from '../../running/all-of.ts';
import type { Clock } from '../../running/clock.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { ExistsError, InUseError, NotFoundError } from '../errors.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { AskEngine } from '../mounts/one-container.ts';
import { containerText } from '../mounts/one-container.ts';
import type { CatalogEntry } from '../records/catalog.ts';
import { recordDeletion, recordWrite } from '../records/catalog.ts';
import type { Claim, Claimant, Claims } from '../records/claims.ts';
import type { CallContext } from '../service.ts';
import { requireStoredOn } from '../stored-on.ts';
import { refuseRenaming } from './rename-refusals.ts';
import type { StorageWork } from './storage-work.ts';
import { goneCommand } from './unclean-ends.ts';

const log = createDebug('berth:volumes');

const mostFormerNames = 8;

export interface RenamesOptions {
  /** This host's name, for the record. */
  readonly host: string;
  readonly clock: Clock;
  readonly mounts: Pick<Mounts, 'requireUnmounted'>;
  readonly claims: Pick<Claims, 'of'>;
  readonly claimant: Pick<Claimant, 'owner'>;
  /** Returns the note that a use of a volume ends now. */
  readonly noteUse: (volume: string) => RecordNote;
  /** Asks this host's engine which containers use a volume. */
  readonly containers: AskEngine;
}

/**
 * Gives a volume another name. The caller holds the locks of both names, and the volume is mounted nowhere.
 *
 *     1. one guarded write   OLD says renamingTo NEW; NEW says renamingFrom OLD, so that nobody creates it
 *     2. the driver          the storage of OLD gets the name NEW, in one step
 *     3. one guarded write   OLD is deleted, NEW has all that OLD had; the locks are released
 *
 * | a crash comes | the volume is | its storage is |
 * |---|---|---|
 * | before 1 | OLD | OLD's |
 * | before 3 | OLD, which refuses all that needs its storage until the rename is completed | OLD's or NEW's |
 * | later | NEW | NEW's |
 *
 * A repeat goes on from each of these states; so does the doctor.
 */
export class Renames {
  readonly #options: RenamesOptions;
  readonly #work: StorageWork;

  constructor(options: RenamesOptions, work: StorageWork) {
    this.#options = options;
    this.#work = work;
  }

  /** The caller has checked both names. */
  async rename(name: string, to: string, lock: Lock, context: CallContext): Promise<void> {
    const begun = await this.#begun(name, to, lock);
    const { record } = begun.from;
    const driver = this.#work.driver(record.driver);
    requireStoredOn(this.#options.host, record, driver);
    const claims = await this.#claims(name, lock);
    await this.#requireIdle(name, to, driver, context);
    const { from, kept } = begun.kept ? begun : await this.#begin(begun.from, to, driver, lock);
    await this.#moveStorage(from, kept, driver, lock, context);
    const { renamingTo: _, ...renamed } = from.record;
    const { noteUse } = this.#options;
    const token = lock.token;
    const until = this.#options.clock.date().toISOString();
    const former = [...(renamed.formerNames ?? []), { name, until, by: this.#options.host }];
    const formerNames = former.slice(-mostFormerNames);
    const last = { ...renamed, version: 1 as const, name: to, formerNames, token };
    await lock.guard(
      [
        ...recordDeletion(name, from.revision),
        recordWrite(last, kept.revision),
        noteUse(to),
        ...claims.map(({ stored }) => ({ key: stored.key, value: undefined })),
      ],
      { unlock: true },
    );
  }

  /** Returns the record, with the one that keeps the other name if a rename has begun. Reads only. */
  async #begun(name: string, to: string, lock: Lock) {
    const [from, kept] = [await this.#work.entry(name, lock), await this.#work.entry(to)];
    if (!from || from.record.renamingFrom !== undefined) {
      const isThere = kept && kept.record.renamingFrom === undefined;
      const perhaps = isThere
        ? `; there is a volume ${to}: an earlier rename may have made it`
        : '';
      throw new NotFoundError(`no such volume: ${name}${perhaps}`);
    }
    if (from.record.renamingTo === to && kept?.record.renamingFrom === name) return { from, kept };
    refuseRenaming(from.record);
    if (kept) refuseRenaming(kept.record);
    if (kept) throw new ExistsError(`volume ${to} exists already; use another name`);
    return { from };
  }

  /** Rejects while anything on this host may use the volume, or storage has the other name. */
  async #requireIdle(
    name: string,
    to: string,
    driver: VolumeDriver,
    { signal }: CallContext,
  ): Promise<void> {
    const { mounts } = this.#options;
    await allOf([
      this.#work.driverInPlace(driver.name),
      mounts.requireUnmounted(name),
      mounts.requireUnmounted(to),
      this.#requireNoContainer(name, signal),
    ]);
  }

  async #requireNoContainer(name: string, signal: AbortSignal): Promise<void> {
    // Without an engine there is nobody to ask; the kernel has been asked.
    const found = await this.#options.containers(name, signal).catch(() => undefined);
    const [first] = [...(found?.running ?? []), ...(found?.busy ?? [])];
    if (!first) return;
    throw new InUseError(
      `volume ${name} is in use by ${containerText(first)}; stop that container before renaming`,
    );
  }

  /** Returns this host's claims on the volume, which end with its name. Rejects while another host may write to it. */
  async #claims(name: string, lock: Lock): Promise<Claim[]> {
    const { claims, claimant } = this.#options;
    const older = (await claims.of(name)).filter(({ token }) => token < lock.token);
    const [other] = older.filter(({ owner }) => owner !== claimant.owner);
    if (!other) return older;
    const { host, since, token } = other;
    throw new InUseError(
      `volume ${name} can't be renamed: host ${host} had it since ${since} (token ${token}), did not unmount it, ` +
        'and may still write to it. That ends by itself when that host is back; if it is gone for good: ' +
        goneCommand({ volume: name, token }),
    );
  }

  /** Records that the rename has begun; returns the records as they are now. */
  async #begin({ record, revision }: CatalogEntry, to: string, driver: VolumeDriver, lock: Lock) {
    const { name } = record;
    if (await driver.storage.find(to)) {
      throw new ExistsError(
        `volume ${name} can't get the name ${to}: storage of that name is there; find out whose it is with: ` +
          'berth doctor',
      );
    }
    if (!(await driver.storage.find(name))) {
      throw new NotFoundError(`the storage of volume ${name} is not here; nothing was changed`);
    }
    const during = { ...record, version: 2 as const, token: lock.token };
    await lock.guard([
      recordWrite({ ...during, renamingTo: to }, revision),
      recordWrite({ ...during, name: to, renamingFrom: name }, 0),
    ]);
    return { from: await this.#work.known(name), kept: await this.#work.known(to) };
  }

  async #moveStorage(
    from: CatalogEntry,
    kept: CatalogEntry,
    driver: VolumeDriver,
    lock: Lock,
    context: CallContext,
  ): Promise<void> {
    const { record } = from;
    try {
      await driver.rename(record, kept.record.name, this.#work.during(lock, context));
    } catch (error) {
      await this.#takeBack(from, kept, driver, lock).catch((failure) => {
        log('volume=%s its rename stays begun: %s', record.name, failure);
      });
      throw error;
    }
  }

  /** Undoes the first step, if the storage is proved to have its former name. */
  async #takeBack(
    { record, revision }: CatalogEntry,
    kept: CatalogEntry,
    driver: VolumeDriver,
    lock: Lock,
  ): Promise<void> {
    if (!(await driver.storage.find(record.name))) return;
    const { renamingTo: _, ...before } = record;
    await lock.guard([
      recordWrite({ ...before, version: 1, token: lock.token }, revision),
      ...recordDeletion(kept.record.name, kept.revision),
    ]);
  }
}
