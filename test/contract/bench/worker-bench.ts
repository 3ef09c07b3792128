import { join } from 'node:path';
import type { Clock } from '../../../lib/running/clock.ts';
import { systemClock } from '../../../lib/running/clock.ts';
import type { DriverVolume, VolumeDriver } from '../../../lib/volumes/drivers/driver.ts';
import type { VolumeEvent } from '../../../lib/volumes/events.ts';
import { Lanes } from '../../../lib/volumes/worker/lanes.ts';
import { remoteDrivers } from '../../../lib/volumes/worker/remote-drivers.ts';
import { WorkerProcess } from '../../../lib/volumes/worker/worker-process.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

/** The limits of calls pass this many times faster. */
const haste = 10;

/** The drivers as the daemon uses them: in storage workers, behind lanes. */
export interface WorkerBench extends AsyncDisposable {
  readonly volumeDir: string;
  readonly lanes: Lanes<WorkerProcess>;
  readonly workers: readonly WorkerProcess[];
  readonly events: readonly VolumeEvent[];
  driver(name: string): VolumeDriver;
  mountpoint(name: string): string;
}

/** `volumeDir`: where the volumes lie; by default in a directory of this bench. */
export async function makeWorkerBench(volumeDir?: string): Promise<WorkerBench> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const place = { volumeDir: volumeDir ?? join(directory.path, 'volumes') };
  const real = systemClock();
  const clock: Clock = { ...real, sleep: (ms, signal) => real.sleep(ms / haste, signal) };
  const workers: WorkerProcess[] = [];
  const events: VolumeEvent[] = [];
  const start = () => {
    const worker = new WorkerProcess({ place, clock: real });
    workers.push(worker);
    return worker;
  };
  const record = (event: VolumeEvent) => void events.push(event);
  const lanes = stack.use(new Lanes({ start, clock, events: { record } }));
  const drivers = await remoteDrivers(place, lanes);
  const owned = stack.move();
  return {
    volumeDir: place.volumeDir,
    lanes,
    workers,
    events,
    driver: (name) => {
      const driver = drivers.get(name);
      if (!driver) throw new Error(`there is no driver ${name}`);
      return driver;
    },
    mountpoint: (name) => join(directory.path, 'mounts', name),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const options: Readonly<Record<string, Record<string, string>>> = {
  directory: {},
  image: { size: '20M' },
};

/** Returns a small volume of a driver. */
export function volumeOf(driver: VolumeDriver, name: string): DriverVolume {
  return { name, options: driver.parseOptions(options[driver.name] ?? {}) };
}
