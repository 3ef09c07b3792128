import { isShownElsewhere } from '../../linux/mount-namespaces.ts';
import type { DriverVolume, VolumeDriver } from '../drivers/driver.ts';
import { InvalidMountIdError, InvalidRequestError } from '../errors.ts';
import type { MountRow, MountUse } from './stored-row.ts';

/**
 * The one ID of all mounts by Podman, which counts them itself. Only its own Unmount ends them, as no
 * Docker engine knows them.
 */
const podmanId = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';

/** Returns true for the mount ID of Podman. */
export function isPodman(mountId: string): boolean {
  return mountId === podmanId;
}

/** Stands for the uses of a mount whose IDs are lost. No engine can send it: it has a blank. */
export const lostId = 'unknown user';

/** Throws for an ID that no engine makes. Rows of earlier releases may still have such IDs. */
export function checkMountId(id: string): void {
  if (/^[\x21-\x7e]{1,255}$/.test(id)) return;
  const shown = JSON.stringify(id.slice(0, 32)).replaceAll(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  throw new InvalidMountIdError(
    `${shown}${id.length > 32 ? ' …' : ''} is not a mount ID: use 1 to 255 printable ASCII ` +
      'characters without blanks',
  );
}

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
export async function oneMore(row: MountRow, id: string): Promise<MountUse> {
  const known = row.mountIds.get(id);
  if (!known) return { count: 1, confirmed: true };
  const isRepeated = !known.confirmed && !(await isShownElsewhere(row.mountpoint));
  return isRepeated ? { count: 1, confirmed: true } : { ...known, count: known.count + 1 };
}

/** Returns the row with each use unconfirmed: it counts once until the engine repeats it. */
export function unconfirmed(row: MountRow): MountRow {
  const uses = [...row.mountIds].map(
    ([id, use]) => [id, id === podmanId ? use : { count: 1, confirmed: false }] as const,
  );
  return { ...row, mountIds: new Map(uses) };
}

/** Returns the row with uses whose IDs are lost: they count until nobody is seen to use the volume. */
export function withLostUses(row: MountRow): MountRow {
  return withUse(row, lostId, { count: 1, confirmed: false });
}

/** Lists the IDs whose use is unconfirmed. */
export function unconfirmedIdsOf(row: MountRow): string[] {
  return engineIdsOf(row).filter((id) => {
    const use = row.mountIds.get(id);
    return use?.confirmed === false && use.count === 1;
  });
}

/** Lists the IDs of a Docker engine's Mounts. */
export function engineIdsOf(row: MountRow): string[] {
  return [...row.mountIds.keys()].filter((id) => id !== podmanId);
}

/** Returns the row with one use changed or added. */
export function withUse(row: MountRow, id: string, use: MountUse): MountRow {
  return { ...row, mountIds: new Map(row.mountIds).set(id, use) };
}

/** Returns the row without some of its uses. */
export function withoutUses(row: MountRow, ids: readonly string[]): MountRow {
  const left = [...row.mountIds].filter(([id]) => !ids.includes(id));
  return { ...row, mountIds: new Map(left) };
}
