import type { DriverPlace, VolumeDriver } from './driver.ts';
import { lookingForMark } from './looking-for-mark.ts';

/** Every driver by its name, the value of `-o driver=` and of the setting `driver`. Loaded when it is needed. */
const factories = {
  directory: async () => (await import('./directory/driver.ts')).directoryDriver,
  image: async () => (await import('./image/driver.ts')).imageDriver,
  tmpfs: async () => (await import('./tmpfs/driver.ts')).tmpfsDriver,
} as const satisfies Record<string, () => Promise<(place: DriverPlace) => VolumeDriver>>;

/** The names of all drivers. Listing them loads none. */
export const driverNames: readonly string[] = Object.keys(factories);

/** Returns every driver by its name. */
export async function drivers(place: DriverPlace): Promise<ReadonlyMap<string, VolumeDriver>> {
  const all = await Promise.all(Object.values(factories).map((factory) => factory()));
  const made = all.map((make) => lookingForMark(make(place)));
  return new Map(made.map((driver) => [driver.name, driver]));
}
