import type { DriverContext, VolumeDriver } from '../drivers/driver.ts';
import type { StoredVolume } from '../drivers/stored-volume.ts';
import { ExistsError, InvalidRequestError, PoolMarkError } from '../errors.ts';
import type { NewVolume } from './volume-options.ts';

/**
 * Creates the empty storage of a new volume. What a driver finds there already is used if `refuseLeft`
 * allows it; most storage is new, so nobody looks at it before.
 */
export async function createUnlessLeft(
  driver: VolumeDriver,
  wanted: NewVolume,
  context: DriverContext,
): Promise<void> {
  try {
    if ((await driver.create(wanted, context)) === 'made') return;
  } catch (error) {
    if (error instanceof PoolMarkError) throw error; // The storage there belongs to another cluster.
    await requireNothingLeft(driver, wanted); // Else that is the reason, and says what to do.
    throw error;
  }
  await requireNothingLeft(driver, wanted);
}

/** Rejects as `refuseLeft` throws. */
export async function requireNothingLeft(driver: VolumeDriver, wanted: NewVolume): Promise<void> {
  refuseLeft(wanted, await driver.storage.find(wanted.name));
}

/**
 * Throws if storage of a volume's name is there although the volume has no record, unless the storage
 * is proved empty (an interrupted Create left it), the request adopts it, or the request and the storage
 * are a copy (an interrupted one left it): its content is somebody's, and the new volume must neither
 * show nor lose it.
 */
export function refuseLeft(wanted: NewVolume, left: StoredVolume | undefined): void {
  if (!left || (left.content !== 'some' && left.snapshots.length === 0)) return;
  const { name, driver, options, source } = wanted;
  if (source && left.isFreshCopy && left.snapshots.length === 0) return;
  if (!wanted.adopts) {
    const flags = Object.entries(left.options).map(([key, value]) => `-o ${key}=${value} `);
    const again = source ? 'create the volume without from and' : 'repeat the command';
    throw new ExistsError(
      `volume ${name} has no record, but driver ${driver} has storage with content of that name, ` +
        `changed at ${left.changedAt}; nothing was changed. Keep the content: ${again} ` +
        `with ${flags.join('')}-o adopt=yes; or delete it first: berth doctor --fix --delete ${name}`,
    );
  }
  const differs = Object.keys(left.options).find((key) => left.options[key] !== options[key]);
  if (differs === undefined) return;
  throw new InvalidRequestError(
    `the storage of volume ${name} has ${differs}=${left.options[differs]}, so it can't be adopted ` +
      `with ${differs}=${options[differs]}`,
  );
}
