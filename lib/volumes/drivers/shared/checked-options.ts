import { messageOf } from '../../../running/message-of.ts';
import { UnavailableError } from '../../errors.ts';
import type { DriverVolume } from '../driver.ts';

/**
 * Reads the options of a volume. Its record comes from the store, which any host of the cluster can write: what
 * a driver would not accept from a user is not used either. Throws UnavailableError, which names the volume.
 */
export function checkedOptions<T>({ name }: DriverVolume, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UnavailableError(
      `the record of volume ${name} has options that its driver can't use (${messageOf(error)}); ` +
        'see: berth doctor',
      { cause: error },
    );
  }
}
