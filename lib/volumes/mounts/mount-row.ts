import { isShownElsewhere } from '../../linux/mount-namespaces.ts';
import type { DriverVolume, VolumeDriver } from '../drivers/driver.ts';
import { InvalidRequestError } from '../errors.ts';
import type { MountRow } from './mount-table.ts';

/**
 * The one ID of all mounts by Podman, which counts them itself. Only its own Unmount ends them, as no
 * Docker engine knows them.
 */
const podmanId = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';

export function volumeOf({ volume, options }: MountRow): DriverVolume {
  return { name: volume, options };
}

export function driverOf(row: MountRow, drivers: ReadonlyMap<string, VolumeDriver>): VolumeDriver {
  const driver = drivers.get(row.driver);
  if (driver) return driver;
  throw new InvalidRequestError(`volume ${row.volume} needs the driver ${row.driver}`);
}

/**
 * Returns the count of an ID after one more Mount. After an engine restart the first Mount repeats an
 * old one and adds nothing, unless the container survived (live-restore): then the Mount is one of
 * `docker cp`, and the container's own use stays unconfirmed.
 */
export async function oneMore(row: MountRow, id: string): Promise<MountRow['mountIds'][string]> {
  const known = row.mountIds[id];
  if (!known) return { count: 1, confirmed: true };
  const isRepeated = !known.confirmed && !(await isShownElsewhere(row.mountpoint));
  return isRepeated ? { count: 1, confirmed: true } : { ...known, count: known.count + 1 };
}

/** Returns the row with each use unconfirmed: it counts once until the engine repeats it. */
export function unconfirmed(row: MountRow): MountRow {
  const mountIds = Object.fromEntries(
    Object.entries(row.mountIds).map(([id, use]) => [
      id,
      id === podmanId ? use : { count: 1, confirmed: false },
    ]),
  );
  return { ...row, mountIds };
}

/** Lists the IDs whose use is unconfirmed. */
export function unconfirmedIdsOf(row: MountRow): string[] {
  return engineIdsOf(row).filter((id) => {
    const use = row.mountIds[id];
    return use?.confirmed === false && use.count === 1;
  });
}

/** Lists the IDs of a Docker engine's Mounts. */
export function engineIdsOf(row: MountRow): string[] {
  return Object.keys(row.mountIds).filter((id) => id !== podmanId);
}

/** Returns the row with one use changed or added. */
export function withUse(row: MountRow, id: string, use: MountRow['mountIds'][string]): MountRow {
  return { ...row, mountIds: { ...row.mountIds, [id]: use } };
}
