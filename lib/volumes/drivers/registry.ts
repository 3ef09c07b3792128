import { directoryDriver } from './directory/driver.ts';
import type { VolumeDriver } from './driver.ts';
import { imageDriver } from './image/driver.ts';

/** Returns every driver by its name, the value of `-o driver=` and of the setting `driver`. */
export function drivers(options: {
  readonly volumeDir: string;
}): ReadonlyMap<string, VolumeDriver> {
  const all = [directoryDriver(options), imageDriver(options)];
  return new Map(all.map((driver) => [driver.name, driver]));
}
