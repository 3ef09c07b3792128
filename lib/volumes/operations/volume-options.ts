import type { VolumeDriver } from '../drivers/driver.ts';
import { optionsOfCopies } from '../drivers/driver-option.ts';
import { ExistsError, InvalidRequestError } from '../errors.ts';
import type {
  Access,
  CopyKind,
  FencingMode,
  LockRules,
  VolumeRecord,
  VolumeSource,
} from '../volume.ts';
import {
  accessModes,
  checkVolumeName,
  failoverModes,
  fencingModes,
  formatSource,
  lossActions,
  parseSource,
} from '../volume.ts';

/** The `-o` options that every driver has. */
export const commonOptions: Readonly<Record<string, string>> = {
  driver: 'the storage technology',
  access: `who may mount it at one time: ${accessModes.join(', ')}`,
  failover: `how its lock is released when its host has died: ${failoverModes.join(', ')}`,
  'on-lost': `what its containers do before the host loses it: ${lossActions.join(', ')}`,
  fencing: `where the writes of a host that has lost it are stopped: ${fencingModes.join(', ')}`,
  from: 'create it from VOLUME or VOLUME@SNAPSHOT',
  live: 'yes, with from: containers write on while it is copied, which is then not of one moment',
  protect: 'yes: refuse its removal',
  adopt: 'yes: keep the content of storage of that name that has no record',
};

/** The access of new volumes that don't name one, by the driver's name. */
export type DefaultAccess = Readonly<Partial<Record<string, Access>>>;

/** A volume to create, with checked and normalised options. */
export interface NewVolume extends LockRules {
  /** Undefined: as the pool can. */
  readonly fencing?: FencingMode;
  readonly name: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  /** Remove is refused. */
  readonly protect: boolean;
  /** The source of a copy; undefined: the volume starts empty. */
  readonly source?: VolumeSource;
  /** With a source: its containers write on while it is copied. */
  readonly isLive: boolean;
  /** Storage with content that is there without a record becomes the volume's. */
  readonly adopts: boolean;
  /** Throws ExistsError when an existing volume differs in an option that was given. */
  readonly checkSame: (existing: VolumeRecord) => void;
}

/**
 * Checks a request for an empty volume. Throws InvalidRequestError, which names the bad option and
 * the allowed values; touches nothing.
 */
export function newVolume(
  name: string,
  given: Readonly<Record<string, string>>,
  driver: VolumeDriver,
  defaults: DefaultAccess = {},
): NewVolume {
  checkVolumeName(name);
  checkOptionNames(given, driver);
  if (given.live !== undefined) {
    throw new InvalidRequestError('option live can only be given together with from');
  }
  const { rules, driverOptions } = splitOptions(given);
  const options = driver.parseOptions(driverOptions);
  const access = defaults[driver.name] ?? ownAccess(driver);
  const adopts = oneOf('adopt', ['yes', 'no'], given.adopt ?? 'no') === 'yes';
  const atStart = Object.keys(driverOptions).find(
    (key) => driver.options[key]?.inCopies === 'given',
  );
  if (adopts && atStart !== undefined) {
    throw new InvalidRequestError(
      `option ${atStart} can't be given together with adopt: content that is adopted keeps its owner and mode`,
    );
  }
  return {
    name,
    driver: driver.name,
    options,
    isLive: false,
    adopts,
    protect: isYes('protect', given),
    ...lockRules(rules, { access }, driver),
    checkSame: (existing) =>
      checkSame(existing, {
        ...(given.driver === undefined ? {} : { driver: driver.name }),
        ...rules,
        ...chosenFrom(options, driverOptions),
      }),
  };
}

/** Checks a request for a copy of another volume, which gets that volume's driver options. */
export function newCopy(
  name: string,
  given: Readonly<Record<string, string>>,
  source: VolumeSource,
  sourceRecord: VolumeRecord,
  driver: VolumeDriver,
): NewVolume {
  checkVolumeName(name);
  checkOptionNames(given, driver);
  if (name === source.volume) {
    throw new InvalidRequestError(`volume ${name} can't be copied onto itself`);
  }
  const { rules, driverOptions } = splitOptions(given);
  const sameAsSource = (key: string) => driver.options[key]?.inCopies === 'same';
  const [extra = given.adopt && 'adopt'] = Object.keys(driverOptions).filter(sameAsSource);
  if (extra !== undefined || (given.driver !== undefined && given.driver !== sourceRecord.driver)) {
    throw new InvalidRequestError(
      `option ${extra ?? 'driver'} can't be given together with from: a copy has the driver ` +
        `and the size and file system of volume ${source.volume}`,
    );
  }
  const from = formatSource(source);
  const options = copyOptions(driverOptions, sourceRecord, driver);
  return {
    name,
    driver: sourceRecord.driver,
    options,
    ...lockRules(rules, sourceRecord, driver),
    source,
    isLive: oneOf('live', ['yes', 'no'], given.live ?? 'no') === 'yes',
    adopts: false,
    protect: isYes('protect', given),
    checkSame: (existing) =>
      checkSame(existing, { from, ...rules, ...chosenFrom(options, driverOptions) }),
  };
}

type FirstFacts = Pick<VolumeRecord, 'createdAt' | 'createdBy' | 'token'> & {
  readonly copyKind: CopyKind | undefined;
};

/** Returns the record of a volume that has just been made. */
export function firstRecord(
  { name, driver, options, access, failover, onLost, fencing, protect, source }: NewVolume,
  { copyKind, ...made }: FirstFacts,
): VolumeRecord {
  return {
    ...{ version: 1, name, driver, options: { ...options }, access, failover, onLost },
    ...(fencing !== undefined && { fencing }),
    ...(protect && { protect }),
    ...made,
    ...(source && { from: formatSource(source) }),
    ...(copyKind !== undefined && { copyKind }),
    snapshots: [],
  };
}

/** Returns a copy's options: the record of its source may be of a release that knew fewer. */
function copyOptions(
  given: Readonly<Record<string, string>>,
  { options }: VolumeRecord,
  driver: VolumeDriver,
): Record<string, string> {
  const inherited = optionsOfCopies(driver.options, options);
  if (Object.keys(given).length === 0) return inherited;
  const parsed = Object.entries(driver.parseOptions({ ...inherited, ...given }));
  return Object.fromEntries(parsed.filter(([key]) => key in inherited || key in given));
}

/** Returns the parsed values of the options that were given. */
function chosenFrom(
  parsed: Readonly<Record<string, string>>,
  given: Readonly<Record<string, string>>,
): Record<string, string | undefined> {
  return Object.fromEntries(Object.keys(given).map((key) => [key, parsed[key]]));
}

/** Returns the source that the option `from` names, if it is given. */
export function sourceOf(given: Readonly<Record<string, string>>): VolumeSource | undefined {
  return given.from === undefined ? undefined : parseSource(given.from);
}

/**
 * Returns the access of new volumes where no setting says it: one container for a file system of its own,
 * which usually holds a database, and two servers on one database destroy it.
 */
function ownAccess({ capabilities }: VolumeDriver): Access {
  return capabilities.ownsFileSystem ? 'container' : 'host';
}

function checkOptionNames(given: Readonly<Record<string, string>>, driver: VolumeDriver): void {
  const own = Object.entries(driver.options).map(([key, { help }]) => [key, help] as const);
  const known = { ...commonOptions, ...Object.fromEntries(own) };
  const unknown = Object.keys(given).filter((key) => !Object.hasOwn(known, key));
  if (unknown.length === 0) return;
  const valid = Object.entries(known).map(([key, help]) => `${key} (${help})`);
  throw new InvalidRequestError(
    `unknown option ${unknown.map((key) => JSON.stringify(key)).join(', ')}; ` +
      `driver ${driver.name} knows: ${valid.join('; ')}`,
  );
}

/** Splits the options into the rules of the lock and the driver's own. */
function splitOptions(given: Readonly<Record<string, string>>) {
  const {
    driver: _driver,
    from: _from,
    live: _live,
    adopt: _adopt,
    protect: _protect,
    ...rest
  } = given;
  const isRule = (key: string) => Object.hasOwn(ruleNames, key);
  const part = (keep: boolean) =>
    Object.fromEntries(Object.entries(rest).filter(([key]) => isRule(key) === keep));
  return { rules: part(true), driverOptions: part(false) };
}

const ruleNames = { access: 0, failover: 0, 'on-lost': 0, fencing: 0 };

type Rules = LockRules & Pick<NewVolume, 'fencing'>;
type Base = Partial<LockRules> & { readonly fencing?: FencingMode | undefined };

/** Returns the rules given, completed from `base` and then from the defaults. */
export function lockRules(
  given: Readonly<Record<string, string>>,
  base: Base,
  driver: VolumeDriver,
): Rules {
  const access = oneOf('access', accessModes, given.access ?? base.access ?? 'host');
  if (access === 'shared' && !driver.capabilities.multiHostMount) {
    throw new InvalidRequestError(
      `driver ${driver.name} can't have access=shared: two hosts that mount it at once destroy it`,
    );
  }
  const failover = oneOf('failover', failoverModes, given.failover ?? base.failover ?? 'auto');
  const onLost = given['on-lost'] ?? (access === 'shared' ? 'keep' : notOfShared(base));
  if (access === 'shared' && onLost !== 'keep') {
    throw new InvalidRequestError(
      `on-lost=${onLost} can't be combined with access=shared: other hosts write to it anyway`,
    );
  }
  const isKept = onLost === 'keep';
  const fencing = given.fencing ?? (isKept ? undefined : base.fencing);
  if (fencing === 'storage' && isKept) {
    throw new InvalidRequestError(
      `fencing=storage can't be combined with ${access === 'shared' ? 'access=shared' : 'on-lost=keep'}: ` +
        'a host that has lost the volume goes on writing to it',
    );
  }
  return {
    ...{ access, failover, onLost: oneOf('on-lost', lossActions, onLost) },
    ...(fencing !== undefined && { fencing: oneOf('fencing', fencingModes, fencing) }),
  };
}

/** Returns the default for a copy that is not shared: on-lost=keep came from access=shared. */
function notOfShared({ access, onLost = 'pause' }: Partial<LockRules>) {
  return access === 'shared' ? 'pause' : onLost;
}

function isYes(name: string, given: Readonly<Record<string, string>>): boolean {
  return oneOf(name, ['yes', 'no'], given[name] ?? 'no') === 'yes';
}

export function oneOf<T extends string>(name: string, allowed: readonly T[], value: string): T {
  const found = allowed.find((word) => word === value);
  if (found !== undefined) return found;
  throw new InvalidRequestError(
    `${name}=${JSON.stringify(value)} is not allowed; use one of ${allowed.join(', ')}`,
  );
}

function checkSame(existing: VolumeRecord, asked: Readonly<Record<string, string | undefined>>) {
  const has: Record<string, string | undefined> = {
    ...existing.options,
    driver: existing.driver,
    access: existing.access,
    failover: existing.failover,
    'on-lost': existing.onLost,
    fencing: existing.fencing,
    from: existing.from,
  };
  const differs = Object.keys(asked).find((key) => asked[key] !== has[key]);
  if (differs === undefined) return;
  throw new ExistsError(
    `volume ${existing.name} exists already with ${differs}=${has[differs] ?? '(none)'}, ` +
      `not ${differs}=${asked[differs]}; nothing was changed`,
  );
}
