import { PoolMarkError } from '../errors.ts';
import type { DriverContext, VolumeDriver } from './driver.ts';

/**
 * Makes a driver look for the mark of its pool itself, right before it creates or removes storage: one call of the
 * worker instead of two, and no time between the look and the work.
 */
export function lookingForMark(driver: VolumeDriver): VolumeDriver {
  const { name, pool } = driver;
  const look = async ({ poolMark, signal }: DriverContext) => {
    if (poolMark === undefined) return;
    const at = `the pool of driver ${name} at ${pool.place}`;
    const { mark, isReadOnly } = await pool.look().catch((cause: unknown) => {
      throw new PoolMarkError(`${at} can't be read`, { cause }); // The caller looks, and says so to the user.
    });
    if (mark !== poolMark || isReadOnly) throw new PoolMarkError(`${at} is not this cluster's`);
    signal.throwIfAborted();
  };
  return {
    ...driver,
    create: async (volume, context) => {
      await look(context);
      return await driver.create(volume, context);
    },
    remove: async (volume, context) => {
      await look(context);
      await driver.remove(volume, context);
    },
  };
}
