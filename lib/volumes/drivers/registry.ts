import { directoryDriver } from './directory/driver.ts';
import type { DriverPlace, VolumeDriver } from './driver.ts';
import { imageDriver } from './image/driver.ts';

/** Returns every driver by its name, the value of `-o driver=` and of the setting `driver`. */
export function drivers(place: DriverPlace): ReadonlyMap<string, VolumeDriver> {
  const all = [directoryDriver(place), imageDriver(place)];
  return new Map(all.map((driver) => [driver.name, driver]));
}
