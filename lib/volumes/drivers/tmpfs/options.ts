import { InvalidRequestError } from '../../errors.ts';
import type { DriverVolume } from '../driver.ts';
import type { DriverOptions } from '../driver-option.ts';
import { checkedOptions } from '../shared/checked-options.ts';
import { mountOptions } from '../shared/mount-options.ts';
import { ownerOptions, parseOwner } from '../shared/owner.ts';
import { parseSize } from '../shared/size.ts';

const defaultSize = '64M';

/** The kernel rounds up to whole pages; the largest is more than any host has. */
const limits = { minBytes: 4096, maxBytes: 2 ** 44, stepBytes: 4096 };

export const mounting = mountOptions();

/** The options of a volume in memory. */
export const tmpfsOptions: DriverOptions = {
  size: {
    help: `how much it can hold in the memory of its host, such as 512M (default ${defaultSize})`,
    inCopies: 'same',
  },
  ...ownerOptions,
  ...mounting.option,
};

/** Returns the options of a new volume in full. Throws InvalidRequestError for what is not possible. */
export function parseTmpfsOptions({
  size = defaultSize,
  uid,
  gid,
  mode,
  'mount-options': words,
  ...unknown
}: Readonly<Record<string, string>>): Record<string, string> {
  for (const name of Object.keys(unknown)) {
    throw new InvalidRequestError(
      `the tmpfs driver does not know the option ${JSON.stringify(name)}: use ${Object.keys(tmpfsOptions).join(', ')}`,
    );
  }
  return {
    size: String(parseSize(size, limits)),
    ...parseOwner({ uid, gid, mode }),
    'mount-options': mounting.parse(words),
  };
}

/** Returns the options of a volume as its record has them. Throws UnavailableError for what no release has written. */
export function readOptions(volume: DriverVolume): Record<string, string> {
  return checkedOptions(volume, () => {
    const { size } = parseTmpfsOptions(volume.options);
    return { ...volume.options, size: size ?? defaultSize };
  });
}
