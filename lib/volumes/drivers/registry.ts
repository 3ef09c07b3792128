import { directoryDriver } from './directory/driver.ts';
import type { VolumeDriver } from './driver.ts';
import { imageDriver } from './image/driver.ts';

/** Every driver by its name: what `-o driver=` and the setting `driver` can say. */
export function drivers(options: {
  readonly volumeDir: string;
}): ReadonlyMap<string, VolumeDriver> {
  const all = [directoryDriver(options), imageDriver(options)];
  return new Map(all.map((driver) => [driver.name, driver]));
}
