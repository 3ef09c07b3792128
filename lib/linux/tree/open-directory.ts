import { hasCode } from '../error-code.ts';
import { openBelow } from './below.ts';
import { close, openDirectory, parentName, statOf } from './calls.ts';
import type { Place } from './place.ts';

/**
 * A directory on the path of a walk, whose descriptor can be put down and taken up again.
 *
 *     open ──putDown──► down ──takeUp──► open
 *                         └──takeUp──► lost   it was moved or deleted meanwhile
 *
 * A directory that is taken up is compared with the one that was put down (device, inode, birth), so it does not
 * matter that somebody moves directories between the two: `..` leads to the same one, or it is not taken.
 */
export class OpenDirectory {
  readonly place: Place | undefined;
  readonly #identity: string;
  #fd: number | undefined;

  constructor(fd: number, place: Place | undefined) {
    this.#fd = fd;
    this.place = place;
    this.#identity = statOf(fd).identity;
  }

  /** Undefined while it is down or lost. */
  get fd(): number | undefined {
    return this.#fd;
  }

  putDown(): void {
    if (this.#fd !== undefined) close(this.#fd);
    this.#fd = undefined;
  }

  /** Opens it again from the directory in it that the walk leaves, else from the root. False: it is lost. */
  takeUp(child: number | undefined, root: number): boolean {
    if (this.#fd !== undefined) return true;
    if (child !== undefined) this.#keepIfSame(() => openDirectory(child, parentName));
    if (this.#fd === undefined) this.#keepIfSame(() => openBelow(root, this.place));
    return this.#fd !== undefined;
  }

  #keepIfSame(open: () => number): void {
    let fd: number;
    try {
      fd = open();
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV')) return;
      throw error;
    }
    if (statOf(fd).identity === this.#identity) this.#fd = fd;
    else close(fd);
  }
}
