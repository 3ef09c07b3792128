import type { VolumeDriver } from './drivers/driver.ts';
import { UnavailableError } from './errors.ts';
import type { VolumeRecord } from './volume.ts';

type Driver = Pick<VolumeDriver, 'name' | 'capabilities'>;

/** Returns true if a volume is one of this driver, and a host, by its name, has or sees its storage. */
export function isStoredOn(host: string, record: VolumeRecord, driver: Driver): boolean {
  if (record.driver !== driver.name) return false;
  return !driver.capabilities.hostOnly || record.createdBy === host;
}

/** Throws UnavailableError if a host can't have the volume, because only the host that created it has. */
export function requireStoredOn(host: string, record: VolumeRecord, driver: Driver): void {
  if (isStoredOn(host, record, driver)) return;
  throw new UnavailableError(
    `volume ${record.name} is on host ${record.createdBy} only, which created it with driver ` +
      `${driver.name}; use it there, or remove it and create it on this host`,
  );
}
