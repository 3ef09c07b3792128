import { hasCode } from '../error-code.ts';
import type { Attributes } from './attributes.ts';
import { attributesOf, copyAttributes, giveAttributes } from './attributes.ts';
import type { Name } from './calls.ts';
import {
  close,
  createFile,
  look,
  makeDirectory,
  makeLink,
  makeNode,
  openDirectory,
  openFound,
  openRoot,
  readLink,
  requireOpenat2,
  statOf,
  TreeCallError,
} from './calls.ts';
import { Contents } from './content.ts';
import { eachEntry } from './entries.ts';
import type { FileStat } from './file-stat.ts';
import type { Level } from './levels.ts';
import { Levels } from './levels.ts';
import { FirstCopies, linkTo } from './links.ts';
import { OpenDirectory } from './open-directory.ts';
import type { Place } from './place.ts';
import { printablePath } from './place.ts';

/** The work that a copy has done so far. */
export interface Copied {
  /** The bytes on the disk of what was copied. */
  bytes: number;
  /** Files and directories; a file with several names counts once. */
  files: number;
}

export interface CopyOptions {
  /** Called after each piece of work. */
  readonly onProgress?: (copied: Copied) => void;
  /** The deepest levels whose directories are open at once. */
  readonly mostOpenLevels?: number;
}

/** Some names could not be copied; the message names them. */
export class CopyError extends Error {
  override readonly name = 'CopyError';
}

const mostOpenLevels = 200;
/** The failures that a message names. */
const mostNamed = 10;
/** Errors after which nothing more can be copied. */
const fatal = ['ENOSPC', 'EDQUOT', 'EROFS', 'EMFILE', 'ENFILE', 'ENOMEM', 'EIO', 'ESTALE'];
const modeOfHidden = 0o755;

/**
 * Copies the content of the directory `from` to `to`, which must not exist (README.md). Blocks until the end.
 * Throws CopyError if something could not be copied; a part of the copy is there then.
 */
export function copyTree(from: string, to: string, options: CopyOptions = {}): Copied {
  return new TreeCopy(options).run(from, to);
}

class TreeCopy {
  readonly #levels: Levels;
  readonly #contents = new Contents();
  readonly #first = new FirstCopies();
  readonly #copied: Copied = { bytes: 0, files: 0 };
  readonly #failures: string[] = [];
  readonly #onProgress: (copied: Copied) => void;

  constructor({ onProgress = () => {}, mostOpenLevels: most = mostOpenLevels }: CopyOptions) {
    this.#onProgress = onProgress;
    this.#levels = new Levels(most);
  }

  run(from: string, to: string): Copied {
    try {
      const root = openRoot(from);
      requireOpenat2(root);
      makeDirectory(currentDirectory, Buffer.from(`${to}\0`));
      this.#enter(root, openRoot(to), undefined);
      for (let level = this.#levels.top; level; level = this.#levels.top) {
        const name = level.rest.pop();
        if (name === undefined) this.#leave(level);
        else this.#attempt(level, name, () => this.#copyName(level, name, { isDescent: true }));
      }
    } finally {
      this.#levels.end();
    }
    if (this.#failures.length > 0) throw new CopyError(this.#summary());
    return this.#copied;
  }

  /** Copies what is in a directory, but for its directories, which come later. */
  #enter(from: number, to: number, place: Place | undefined): void {
    const level: Level = {
      from: new OpenDirectory(from, place),
      to: new OpenDirectory(to, place),
      attributes: attributesOf(from, statOf(from)),
      rest: [],
    };
    this.#levels.push(level);
    eachEntry(from, ({ name, wasDirectory }) => {
      if (wasDirectory) level.rest.push(name);
      else this.#attempt(level, name, () => this.#copyName(level, name, { isDescent: false }));
    });
  }

  #leave({ to, attributes }: Level): void {
    const { place } = to;
    this.#attemptAt(place, () => giveAttributes(opened(to), attributes));
    this.#done(attributes.stat);
    this.#levels.pop();
  }

  /** Copies what has a name now, whatever it was when it was listed. */
  #copyName(level: Level, name: Name, { isDescent }: { readonly isDescent: boolean }): void {
    const from = opened(level.from);
    const place: Place = { parent: level.to.place, name };
    let found: number;
    try {
      found = look(from, name);
    } catch (error) {
      if (!hasCode(error, 'EXDEV')) throw error;
      // What a mount hides is not the volume's to show, and what it shows is not the volume's.
      if (isDescent) makeDirectory(opened(level.to), name, modeOfHidden);
      return;
    }
    try {
      const stat = statOf(found);
      if (stat.kind !== 'directory') this.#copyFound(found, stat, opened(level.to), place);
      else if (isDescent) this.#descend(found, opened(level.to), place);
      else level.rest.push(name);
    } finally {
      close(found);
    }
  }

  #descend(found: number, parent: number, place: Place): void {
    const from = openDirectory(found);
    try {
      makeDirectory(parent, place.name);
    } catch (error) {
      close(from);
      throw error;
    }
    this.#enter(from, openDirectory(parent, place.name), place);
  }

  #copyFound(found: number, stat: FileStat, to: number, place: Place): void {
    const first = this.#first.placeOf(stat);
    if (first !== undefined) {
      const { root } = this.#levels;
      if (root) linkTo(first, opened(root.to), to, place.name);
      return;
    }
    if (stat.kind === 'file') this.#copyFile(found, stat, to, place);
    else {
      if (stat.kind === 'link') makeLink(readLink(found), to, place.name);
      else makeNode(to, place.name, stat.mode, stat.device);
      copyAttributes(found, stat, to, place.name);
    }
    this.#first.add(stat, place);
    this.#done(stat);
  }

  #copyFile(found: number, stat: FileStat, to: number, place: Place): void {
    const from = openFound(found);
    try {
      const attributes = attributesOf(from, stat);
      const copy = createFile(to, place.name);
      try {
        this.#copyContent(from, copy, attributes);
      } catch (error) {
        close(copy);
        throw error;
      }
      close(copy); // A server may say only now that it has no space.
    } finally {
      close(from);
    }
  }

  #copyContent(from: number, to: number, attributes: Attributes): void {
    const { stat } = attributes;
    const before = this.#copied.bytes;
    let copied = 0;
    this.#contents.copy(from, to, stat, (count) => {
      copied += count;
      this.#copied.bytes = before + Math.min(copied, stat.storedBytes);
      this.#onProgress(this.#copied);
    });
    this.#copied.bytes = before;
    giveAttributes(to, attributes);
  }

  #done({ storedBytes }: FileStat): void {
    this.#copied.bytes += storedBytes;
    this.#copied.files += 1;
    this.#onProgress(this.#copied);
  }

  #attempt({ to }: Level, name: Name, work: () => void): void {
    this.#attemptAt({ parent: to.place, name }, work);
  }

  #attemptAt(place: Place | undefined, work: () => void): void {
    try {
      work();
    } catch (error) {
      // It has vanished; or a directory that changes listed a name twice, and its copy is there.
      if (!hasCode(error, 'ENOENT', 'EEXIST')) this.#failed(error, place);
    }
  }

  #failed(error: unknown, place: Place | undefined): void {
    if (!(error instanceof TreeCallError)) throw error;
    this.#failures.push(`${printablePath(place)} (${error.message})`);
    if (hasCode(error, ...fatal)) throw new CopyError(this.#summary());
  }

  #summary(): string {
    const named = this.#failures.slice(0, mostNamed).join(', ');
    const more = this.#failures.length - mostNamed;
    return `could not copy ${named}${more > 0 ? ` and ${more} more` : ''}`;
  }
}

const currentDirectory = -100;

/** Returns the descriptor of a directory on the walk's way, which is open where it is worked in. */
function opened({ fd }: OpenDirectory): number {
  if (fd === undefined) throw new Error('a directory was put down while it was in use');
  return fd;
}
