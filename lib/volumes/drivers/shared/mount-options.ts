import { InvalidRequestError } from '../../errors.ts';
import type { DriverVolume } from '../driver.ts';
import type { DriverOption } from '../driver-option.ts';
import { checkedOptions } from './checked-options.ts';

/** Words of mount(8) that exclude each other; the first is used if none of them is given. */
type Choice = readonly [first: string | undefined, ...words: string[]];

/**
 * A volume holds data: what looks like a program of root, or like a device, shall not become one on the host
 * or in a container.
 */
const ofEachMount: readonly Choice[] = [
  ['nosuid', 'suid'],
  ['nodev', 'dev'],
  [undefined, 'noexec', 'exec'],
  [undefined, 'noatime', 'relatime', 'strictatime'],
  [undefined, 'nodiratime'],
];

/** The option `mount-options` of a driver. */
export interface MountOptions {
  readonly option: { readonly 'mount-options': DriverOption };
  /**
   * Returns the normal form of the words: each once, in one order, with the defaults. Throws
   * InvalidRequestError, which lists the words, for any other word and for two that exclude each other.
   */
  parse(given: string | undefined): string;
  /**
   * Returns the words with which a volume is mounted. None for a volume of a release that did not have this
   * option: it may hold programs and devices that its users rely on. Throws UnavailableError if its record
   * has any other word, such as a file system's own option.
   */
  words(volume: DriverVolume): readonly string[];
}

/** Returns the option `mount-options` with the words that every mount has, and those of a driver. */
export function mountOptions(ofDriver: readonly Choice[] = []): MountOptions {
  const choices = [...ofEachMount, ...ofDriver];
  const words = choices.flatMap((choice) => choice.filter((word) => word !== undefined));
  const help = `how it is mounted: ${words.join(', ')}, joined by commas (default nosuid,nodev)`;
  const known = (given: string) => {
    const asked = given.split(',').filter((word) => word !== '');
    const unknown = asked.find((word) => !words.includes(word));
    if (unknown === undefined) return asked;
    throw new InvalidRequestError(
      `mount-options can't have ${JSON.stringify(unknown)}: use ${words.join(', ')}`,
    );
  };
  return {
    option: { 'mount-options': { help, inCopies: 'inherited' } },
    parse(given = '') {
      const asked = known(given);
      return choices.flatMap((choice) => chosen(choice, asked)).join(',');
    },
    words: (volume) => checkedOptions(volume, () => known(volume.options['mount-options'] ?? '')),
  };
}

function chosen(choice: Choice, asked: readonly string[]): string[] {
  const [word = choice[0], other] = choice.filter((each) => each && asked.includes(each));
  if (other !== undefined) {
    throw new InvalidRequestError(`mount-options can't have both ${word} and ${other}`);
  }
  return word === undefined ? [] : [word];
}
