import { z } from 'zod';
import { InvalidRequestError } from '../../errors.ts';
import type { DriverVolume } from '../driver.ts';
import { fileSystems, smallestBytes } from './image-file.ts';
import { parseSize } from './size.ts';

const defaults = { size: '1G', fs: 'ext4' };

/** The largest file of ext4, which may hold the images, is one block smaller than this. */
const maxBytes = 16 * 2 ** 40;

/** One block: a part of one would be lost. */
const stepBytes = 4096;

/** The options of a volume in an image, with what each means. */
export const imageOptions = {
  size: `how much it can hold, such as 512M or 20G (default ${defaults.size})`,
  fs: `its file system: ${fileSystems.join(' or ')} (default ${defaults.fs})`,
  reserve: 'yes: its whole size is allocated at once, so that nothing else can take it',
};

/**
 * Returns the options of a new volume in full, the size in bytes. Throws InvalidRequestError for what
 * is not possible.
 */
export function parseImageOptions(
  options: Readonly<Record<string, string>>,
): Record<string, string> {
  const { size = defaults.size, fs: fsName = defaults.fs, reserve, ...unknown } = options;
  for (const name of Object.keys(unknown)) {
    throw new InvalidRequestError(
      `the image driver does not know the option ${JSON.stringify(name)}: use size, fs or reserve`,
    );
  }
  const fs = fileSystems.find((known) => known === fsName);
  if (fs === undefined) {
    throw new InvalidRequestError(
      `fs=${JSON.stringify(fsName)} is not possible: use ${fileSystems.join(' or ')}`,
    );
  }
  if (reserve !== undefined && reserve !== 'yes' && reserve !== 'no') {
    throw new InvalidRequestError(
      `reserve=${JSON.stringify(reserve)} is not possible: use yes or no`,
    );
  }
  const minBytes = smallestBytes[fs];
  const bytes = String(parseSize(size, { minBytes, maxBytes, stepBytes }));
  return { size: bytes, fs, ...(reserve === 'yes' ? { reserve } : {}) };
}

const optionsSchema = z.object({
  size: z.coerce.number().int(),
  fs: z.enum(fileSystems),
  reserve: z.literal('yes').optional(),
});

/** Returns the options of a volume as its record has them. */
export function readOptions(volume: DriverVolume) {
  return optionsSchema.parse(volume.options);
}

/**
 * Returns the options of a copy. Throws InvalidRequestError if they differ from its source's: a copy of an
 * image is as large as the image, and holds the same file system.
 */
export function sameOptions(source: DriverVolume, target: DriverVolume) {
  const [had, wanted] = [readOptions(source), readOptions(target)];
  for (const option of ['size', 'fs', 'reserve'] as const) {
    if (had[option] !== wanted[option]) {
      throw new InvalidRequestError(
        `a copy of volume ${source.name} has ${option}=${had[option]} as it has; ${option}=${wanted[option]} is not possible`,
      );
    }
  }
  return wanted;
}
