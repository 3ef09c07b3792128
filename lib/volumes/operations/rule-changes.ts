import type { Lock } from '../../lock/lock.ts';
import type { Ticket } from '../../lock/ticket.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { UseLocker } from '../../lock/use/use.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { changeableNames } from '../drivers/driver-option.ts';
import { InUseError, InvalidRequestError, UnavailableError } from '../errors.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { OneContainer } from '../mounts/one-container.ts';
import type { Catalog } from '../records/catalog.ts';
import { recordKey, recordWrite } from '../records/catalog.ts';
import type { CallContext } from '../service.ts';
import type { Changeable, VolumeRecord } from '../volume.ts';
import { rulesOf } from '../volume.ts';
import { refuseMounted, translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';
import { lockRules, oneOf } from './volume-options.ts';

/** The options that can be changed after Create, beside those of the driver. */
export const changeableOptions = ['access', 'failover', 'on-lost', 'protect'] as const;

export interface RuleChangesOptions {
  readonly locks: LockService;
  readonly catalog: Catalog;
  readonly mounts: Pick<Mounts, 'get' | 'changeRules'>;
  readonly oneContainer: Pick<OneContainer, 'requireOne'>;
  readonly mutex: KeyedMutex;
  readonly volumes: { driver(name: string): VolumeDriver };
}

/**
 * Changes the rules of a volume that exists, in one guarded write of its record under the locks of
 * `locks.set`: a host that dies at any moment leaves the former rules or the new ones. A host that has
 * the volume mounted follows the record (`rule-watch.ts`).
 *
 * | the change | allowed |
 * |---|---|
 * | `access` from or to `shared`, `failover` | while no host has the volume mounted: a mount holds its lock in that mode |
 * | `access` from `host` to `container` | while no host has it mounted, or on the host that has, if one container uses it there |
 * | options of the driver (`mount-options`) | always, on any host; the next first Mount on a host follows |
 * | all others | always, on any host |
 */
export class RuleChanges {
  readonly #options: RuleChangesOptions;

  constructor(options: RuleChangesOptions) {
    this.#options = options;
  }

  /** Returns what can be changed, as it is now. A volume that has it already stays unchanged. */
  async set(
    name: string,
    given: Readonly<Record<string, string>>,
    context: CallContext,
  ): Promise<Changeable> {
    const { catalog, mutex, mounts, oneContainer, volumes } = this.#options;
    const record = catalog.get(name);
    if (!record) throw catalog.notFound(name);
    const driver = volumes.driver(record.driver);
    const need = needOf(record, changed(record, given, driver));
    if (need === 'nothing') return changeableOf(record, driver);
    const isForOne = need === 'one container';
    const followed = async (now: VolumeRecord) => {
      const row = mounts.get(name);
      if (row) await mounts.changeRules(row, now);
      return changeableOf(now, driver);
    };
    if (!isForOne) {
      const now = await this.#change(name, given, need === 'no mount', need, context);
      return mutex.run(name, () => followed(now));
    }
    // No Mount is answered between the look at the containers and the change.
    return mutex.run(name, async () => {
      const row = mounts.get(name);
      if (row) await oneContainer.requireOne(row, context.signal);
      return followed(await this.#change(name, given, !row, need, context));
    });
  }

  #change(
    name: string,
    given: Readonly<Record<string, string>>,
    isQuiet: boolean,
    need: Need,
    { signal, onWait }: CallContext,
  ): Promise<VolumeRecord> {
    const { catalog, volumes } = this.#options;
    const refuse = isQuiet ? refuseMounted(name, advice[need]) : undefined;
    const refuseOrReport = (blockers: readonly Ticket[]) => {
      refuse?.(blockers);
      onWait?.(blockers);
    };
    return this.#under(locks.set(name, isQuiet), signal, refuseOrReport, async (lock) => {
      const entry = catalog.entry(lock.read?.record);
      if (!entry) throw catalog.notFound(name);
      const { record, revision } = entry;
      const wanted = changed(record, given, volumes.driver(record.driver));
      const needNow = needOf(record, wanted);
      if (needNow === 'nothing') return record;
      if (needNow !== need) {
        throw new UnavailableError(`volume ${name} was changed at the same time; try again`);
      }
      const now = { ...record, ...wanted, token: lock.token };
      await lock.guard([recordWrite(now, revision)], { unlock: true });
      return now;
    });
  }

  #under<T>(
    uses: readonly [UseLocker, ...UseLocker[]],
    signal: AbortSignal,
    onWait: (blockers: readonly Ticket[]) => void,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T> {
    const { volume } = uses[0];
    const options = { signal, onWait, read: recordKey(volume) };
    return translated(volume, () =>
      this.#options.locks.executeWithMultiUseLock(uses, options, work),
    );
  }
}

/** The condition on the volume's mounts while its rules change. */
type Need = 'nothing' | 'a write' | 'one container' | 'no mount';

function needOf(before: VolumeRecord, after: Changeable): Need {
  const former = rulesOf(before);
  const isShared = former.access === 'shared' || after.access === 'shared';
  if (former.failover !== after.failover) return 'no mount';
  if (former.access !== after.access) {
    if (isShared) return 'no mount';
    if (after.access === 'container') return 'one container';
  }
  const isSame =
    former.access === after.access &&
    former.onLost === after.onLost &&
    former.protect === after.protect &&
    Object.keys(after.options).every((key) => after.options[key] === before.options[key]);
  return isSame ? 'nothing' : 'a write';
}

const advice: Readonly<Record<Need, string>> = {
  nothing: '',
  'a write': '',
  'one container':
    'access=container can be set on that host, which knows its containers, or when nobody uses the volume',
  'no mount':
    'stop the containers that use it first: failover, and access to or from shared, change the lock itself',
};

/**
 * Returns a volume's rules, and all its options, after a change; throws InvalidRequestError for what can't be.
 */
function changed(
  record: VolumeRecord,
  given: Readonly<Record<string, string>>,
  driver: VolumeDriver,
): Changeable {
  const ofDriver = changeableNames(driver.options);
  const known: readonly string[] = [...changeableOptions, ...ofDriver];
  const unknown = Object.keys(given).filter((key) => !known.includes(key));
  if (unknown.length > 0 || Object.keys(given).length === 0) {
    const what = unknown.map((key) => JSON.stringify(key)).join(', ');
    throw new InvalidRequestError(
      `${unknown.length > 0 ? `${what} can't be changed` : 'nothing to change'}; ` +
        `what can be: ${known.join(', ')}`,
    );
  }
  const isOfDriver = ([key]: readonly [string, string]) => ofDriver.includes(key);
  const own = Object.fromEntries(Object.entries(given).filter(isOfDriver));
  const { protect, ...rules } = Object.fromEntries(
    Object.entries(given).filter((entry) => !isOfDriver(entry)),
  );
  // Named, so that on-lost=keep is refused and does not end it.
  const fencing = record.fencing === undefined ? {} : { fencing: record.fencing };
  const { access, failover, onLost } = lockRules({ ...rules, ...fencing }, record, driver);
  const isProtected =
    protect === undefined
      ? record.protect === true
      : oneOf('protect', ['yes', 'no'], protect) === 'yes';
  const options = changedOptions(record, own, driver);
  return { access, failover, onLost, protect: isProtected, options };
}

function changedOptions(
  { options }: VolumeRecord,
  given: Readonly<Record<string, string>>,
  driver: VolumeDriver,
): Record<string, string> {
  if (Object.keys(given).length === 0) return options;
  const parsed = Object.entries(driver.parseOptions({ ...options, ...given }));
  return { ...options, ...Object.fromEntries(parsed.filter(([key]) => key in given)) };
}

function changeableOf(record: VolumeRecord, driver: VolumeDriver): Changeable {
  const names = changeableNames(driver.options);
  const own = Object.entries(record.options).filter(([key]) => names.includes(key));
  return { ...rulesOf(record), options: Object.fromEntries(own) };
}

/** Throws InUseError for a Remove of a protected volume. */
export function refuseProtected({ name, protect }: VolumeRecord): void {
  if (protect !== true) return;
  throw new InUseError(
    `volume ${name} is protected from removal; to remove it, end that first: ` +
      `berth volume set ${name} protect=no`,
  );
}
