import type { VolumeDriver } from './drivers/driver.ts';
import { ExistsError, InvalidRequestError } from './errors.ts';
import type { Access, VolumeRecord, VolumeSource } from './volume.ts';
import { accessModes, checkVolumeName, formatSource, parseSource } from './volume.ts';

/** The `-o` options that every driver has. */
export const commonOptions: Readonly<Record<string, string>> = {
  driver: 'the storage technology',
  access: `who may mount it at one time: ${accessModes.join(', ')}`,
  from: 'make it from VOLUME or VOLUME@SNAPSHOT',
};

/** A volume that is to be made, its options checked and normalised. */
export interface NewVolume {
  readonly name: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  readonly access: Access;
  /** What it is a copy of; undefined: it starts empty. */
  readonly source?: VolumeSource;
  /** Throws ExistsError when an existing volume differs in anything that was asked for. */
  readonly checkSame: (existing: VolumeRecord) => void;
}

/**
 * Checks a request for an empty volume. Throws InvalidRequestError naming what is wrong and what
 * is allowed; touches nothing.
 */
export function newVolume(
  name: string,
  given: Readonly<Record<string, string>>,
  driver: VolumeDriver,
): NewVolume {
  checkVolumeName(name);
  checkOptionNames(given, driver);
  const { driver: _driver, access, from: _from, ...driverOptions } = given;
  const options = driver.parseOptions(driverOptions);
  const wanted = { name, driver: driver.name, options, access: parseAccess(access, driver) };
  return {
    ...wanted,
    checkSame: (existing) =>
      checkSame(existing, {
        ...(given.driver === undefined ? {} : { driver: driver.name }),
        ...(access === undefined ? {} : { access }),
        ...Object.fromEntries(Object.keys(driverOptions).map((key) => [key, options[key]])),
      }),
  };
}

/** Checks a request for a volume with the content of another; it has that one's driver options. */
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
  const { driver: driverName, access, from: _from, ...driverOptions } = given;
  const [extra] = Object.keys(driverOptions);
  if (extra !== undefined || (driverName !== undefined && driverName !== sourceRecord.driver)) {
    throw new InvalidRequestError(
      `option ${extra ?? 'driver'} can't be given together with from: a copy has the driver ` +
        `and the driver's options of volume ${source.volume}`,
    );
  }
  const from = formatSource(source);
  return {
    name,
    driver: sourceRecord.driver,
    options: sourceRecord.options,
    access: access === undefined ? sourceRecord.access : parseAccess(access, driver),
    source,
    checkSame: (existing) =>
      checkSame(existing, { from, ...(access === undefined ? {} : { access }) }),
  };
}

/** The source named by the option `from`, if it is there. */
export function sourceOf(given: Readonly<Record<string, string>>): VolumeSource | undefined {
  return given.from === undefined ? undefined : parseSource(given.from);
}

function checkOptionNames(given: Readonly<Record<string, string>>, driver: VolumeDriver): void {
  const known = { ...commonOptions, ...driver.options };
  const unknown = Object.keys(given).filter((key) => !Object.hasOwn(known, key));
  if (unknown.length === 0) return;
  const valid = Object.entries(known).map(([key, help]) => `${key} (${help})`);
  throw new InvalidRequestError(
    `unknown option ${unknown.map((key) => JSON.stringify(key)).join(', ')}; ` +
      `driver ${driver.name} knows: ${valid.join('; ')}`,
  );
}

function parseAccess(value: string | undefined, driver: VolumeDriver): Access {
  const access = accessModes.find((mode) => mode === (value ?? 'host'));
  if (access === undefined) {
    throw new InvalidRequestError(
      `access=${JSON.stringify(value)} is not allowed; use one of ${accessModes.join(', ')}`,
    );
  }
  if (access === 'shared' && !driver.capabilities.multiHostMount) {
    throw new InvalidRequestError(
      `driver ${driver.name} can't have access=shared: two hosts that mount it at once destroy it`,
    );
  }
  return access;
}

function checkSame(existing: VolumeRecord, asked: Readonly<Record<string, string | undefined>>) {
  const has: Record<string, string | undefined> = {
    ...existing.options,
    driver: existing.driver,
    access: existing.access,
    from: existing.from,
  };
  const differs = Object.keys(asked).find((key) => asked[key] !== has[key]);
  if (differs === undefined) return;
  throw new ExistsError(
    `volume ${existing.name} exists already with ${differs}=${has[differs] ?? '(none)'}, ` +
      `not ${differs}=${asked[differs]}; nothing was changed`,
  );
}
