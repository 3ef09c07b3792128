import { openBelow } from './below.ts';
import { close, hardLink } from './calls.ts';
import type { FileStat } from './file-stat.ts';
import type { Place } from './place.ts';

/** Where the first copy of a file with several names is. */
export class FirstCopies {
  readonly #places = new Map<string, Place>();

  placeOf({ kind, links, identity }: FileStat): Place | undefined {
    return kind === 'directory' || links < 2 ? undefined : this.#places.get(identity);
  }

  add({ kind, links, identity }: FileStat, place: Place): void {
    if (kind !== 'directory' && links > 1) this.#places.set(identity, place);
  }
}

/** Gives a copy a second name, in the directory `to`. `root` is that of the copy, which nobody else changes. */
export function linkTo(first: Place, root: number, to: number, name: Place['name']): void {
  const directory = openBelow(root, first.parent);
  try {
    hardLink(directory, first.name, to, name);
  } finally {
    close(directory);
  }
}
