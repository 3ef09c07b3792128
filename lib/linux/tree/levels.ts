import type { Attributes } from './attributes.ts';
import type { Name } from './calls.ts';
import type { OpenDirectory } from './open-directory.ts';

/** A directory that is being copied: its original, its copy, and what is left to do in it. */
export interface Level {
  readonly from: OpenDirectory;
  readonly to: OpenDirectory;
  /** The original's, for the end. */
  readonly attributes: Attributes;
  /** The directories in it that are still to be copied. */
  readonly rest: Name[];
}

/** The directories on the way from the root to where a walk is; only some of them have open descriptors. */
export class Levels {
  readonly #levels: Level[] = [];
  readonly #mostOpen: number;

  /** `mostOpen`: the deepest levels that are open beside the root; two descriptors each. */
  constructor(mostOpen: number) {
    this.#mostOpen = mostOpen;
  }

  get top(): Level | undefined {
    return this.#levels.at(-1);
  }

  get root(): Level | undefined {
    return this.#levels[0];
  }

  push(level: Level): void {
    this.#levels.push(level);
    const far = this.#levels.length - 1 - this.#mostOpen;
    // The root stays open.
    if (far > 0) {
      this.#levels[far]?.from.putDown();
      this.#levels[far]?.to.putDown();
    }
  }

  /** Leaves the top, whose descriptors are put down. If its parent has moved, nothing is left to do there. */
  pop(): void {
    const left = this.#levels.pop();
    const parent = this.top;
    if (left && parent) {
      const { from, to } = this.root ?? parent;
      if (!parent.to.takeUp(left.to.fd, to.fd ?? -1)) throw new MovedCopyError();
      // Where it is now, its names are not those of this place any more.
      if (!parent.from.takeUp(left.from.fd, from.fd ?? -1)) parent.rest.length = 0;
    }
    left?.from.putDown();
    left?.to.putDown();
  }

  /** Puts all descriptors down. */
  end(): void {
    for (const { from, to } of this.#levels.splice(0)) {
      from.putDown();
      to.putDown();
    }
  }
}

class MovedCopyError extends Error {
  override readonly name = 'MovedCopyError';
  constructor() {
    super('the copy was moved while it was made');
  }
}
