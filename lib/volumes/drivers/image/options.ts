import { z } from 'zod';
import { InvalidRequestError } from '../../errors.ts';
import type { DriverVolume } from '../driver.ts';
import type { DriverOptions } from '../driver-option.ts';
import { keepOption, parseKeep } from '../keep.ts';
import { checkedOptions } from '../shared/checked-options.ts';
import { mountOptions } from '../shared/mount-options.ts';
import { ownerOf, ownerOptions, parseOwner } from '../shared/owner.ts';
import { parseSize } from '../shared/size.ts';
import { fileSystems, smallestBytes } from './image-file.ts';

const defaults = { size: '1G', fs: 'ext4' };

/** The largest file of ext4, which may hold the images, is one block smaller than this. */
const maxBytes = 16 * 2 ** 40;

/** One block: a part of one would be lost. */
const stepBytes = 4096;

const mounting = mountOptions([[undefined, 'discard', 'nodiscard']]);

/** The options of a volume in an image, with what each means. */
export const imageOptions: DriverOptions = {
  size: {
    help: `how much it can hold, such as 512M or 20G (default ${defaults.size})`,
    inCopies: 'same',
  },
  fs: {
    help: `its file system: ${fileSystems.join(' or ')} (default ${defaults.fs})`,
    inCopies: 'same',
  },
  reserve: {
    help: 'yes: its whole size is allocated at once, so that nothing else can take it',
    inCopies: 'same',
  },
  ...ownerOptions,
  ...keepOption,
  ...mounting.option,
};

/**
 * Returns the options of a new volume in full, the size in bytes. Throws InvalidRequestError for what
 * is not possible.
 */
export function parseImageOptions(
  options: Readonly<Record<string, string>>,
): Record<string, string> {
  const { size = defaults.size, fs: fsName = defaults.fs, reserve, ...others } = options;
  const { uid, gid, mode, keep, 'mount-options': words, ...unknown } = others;
  for (const name of Object.keys(unknown)) {
    throw new InvalidRequestError(
      `the image driver does not know the option ${JSON.stringify(name)}: use ${Object.keys(imageOptions).join(', ')}`,
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
  const mountedWith = mounting.parse(words);
  if (reserve === 'yes' && mountedWith.split(',').includes('discard')) {
    throw new InvalidRequestError(
      "reserve=yes can't be combined with mount-options=discard, which gives allocated space back",
    );
  }
  return {
    ...{ size: bytes, fs, ...(reserve === 'yes' ? { reserve } : {}) },
    ...parseOwner({ uid, gid, mode }),
    ...parseKeep(keep),
    'mount-options': mountedWith,
  };
}

const optionsSchema = z.object({
  size: z.coerce.number().int().min(stepBytes).max(maxBytes),
  fs: z.enum(fileSystems),
  reserve: z.literal('yes').optional(),
});

/** Returns the options of a volume as its record has them. Throws UnavailableError for what no release has written. */
export function readOptions(volume: DriverVolume) {
  const read = () => optionsSchema.parse(volume.options);
  return { ...checkedOptions(volume, read), owner: ownerOf(volume), words: mounting.words(volume) };
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
