import type { DriverVolume } from './drivers/driver.ts';
import type { MountRow } from './mount-table.ts';

export function volumeOf({ volume, options }: MountRow): DriverVolume {
  return { name: volume, options };
}

/** Its uses may or may not be real any more; each counts once until the engine repeats it. */
export function unconfirmed(row: MountRow): MountRow {
  const mountIds = Object.fromEntries(
    Object.keys(row.mountIds).map((id) => [id, { count: 1, confirmed: false }]),
  );
  return { ...row, mountIds };
}

export function unconfirmedIdsOf(row: MountRow): string[] {
  return Object.keys(row.mountIds).filter((id) => row.mountIds[id]?.confirmed === false);
}
