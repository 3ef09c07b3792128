import { InvalidRequestError } from '../errors.ts';
import type { DriverVolume } from './driver.ts';
import type { DriverOptions } from './driver-option.ts';
import { checkedOptions } from './shared/checked-options.ts';

/** The option by which a volume says how long the trash keeps it. Every driver with a trash has it. */
export const keepOption = {
  keep: {
    help: 'how long the trash keeps it after its removal, such as 7d; 0: not at all (default: the setting trash)',
    inCopies: 'inherited',
  },
} as const satisfies DriverOptions;

/** The value that says what no value says, so that it can be set again. */
const asTheHost = 'default';

const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 } as const;
const maxMs = 366 * units.d;

/**
 * Returns the option in its normal form (`168h` → `7d`), or nothing if it is not given. Throws
 * InvalidRequestError for what is not possible.
 */
export function parseKeep(given: string | undefined): Record<string, string> {
  if (given === undefined) return {};
  if (given === '0' || given === asTheHost) return { keep: given };
  const ms = millisecondsOf(given);
  if (ms === undefined || ms === 0 || ms > maxMs) {
    throw new InvalidRequestError(
      `keep=${JSON.stringify(given)} is not possible: use 1s to 366d, such as 7d or 12h, 0 for not at all, ` +
        `or ${asTheHost} for the setting trash of the host that removes the volume`,
    );
  }
  const [unit, size] = Object.entries(units).find((entry) => ms % entry[1] === 0) ?? ['s', units.s];
  return { keep: `${ms / size}${unit}` };
}

/**
 * Returns the milliseconds for which a removed volume is kept; undefined: as the host's setting says. Throws
 * UnavailableError for what no release has written.
 */
export function keptMs(volume: DriverVolume): number | undefined {
  const { keep } = checkedOptions(volume, () => parseKeep(volume.options.keep));
  if (keep === undefined || keep === asTheHost) return undefined;
  return keep === '0' ? 0 : millisecondsOf(keep);
}

function millisecondsOf(text: string): number | undefined {
  const [, digits, unit] = /^(\d{1,9})([dhms])$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits) * units[unit as keyof typeof units];
}
