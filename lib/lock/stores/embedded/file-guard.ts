import { statSync } from 'node:fs';
import { hasCode } from '../../../linux/error-code.ts';
import { StoreRefusedError } from '../../errors.ts';
import type { RememberedFile } from './file-memory.ts';
import { FileMemory } from './file-memory.ts';
import type { FileSeen } from './file-verdict.ts';
import {
  refusalText,
  whyOtherContent,
  whyOtherFile,
  whyShorter,
  whyWithoutLog,
} from './file-verdict.ts';

/** The lock file is not in the state in which this host left it. */
export class OtherFileError extends StoreRefusedError {
  readonly why: string;
  constructor(path: string, why: string) {
    super(refusalText(path, why));
    this.why = why;
  }
}

/**
 * Notices that the lock file was put back, cut off or replaced: at the start by what this host
 * remembers of it, and while it is open by its inode, its length, and its revision.
 *
 * Not noticed while the file is open: an older copy that is written into the same inode, until its
 * content is read. SQLite goes on with its log, whose pages are newer.
 */
export class FileGuard implements Disposable {
  readonly #path: string;
  readonly #boot: string;
  readonly #memory: FileMemory;
  #known: RememberedFile | undefined;
  #accepted: number | undefined;
  /** The inode of the log that is open. */
  #log: number | undefined;
  #hadLog = false;

  constructor(path: string, memoryPath: string, boot: string) {
    this.#path = path;
    this.#boot = boot;
    this.#memory = new FileMemory(memoryPath);
    this.#known = this.#memory.before;
  }

  /** True: this host knows how it left the file. */
  get isKnown(): boolean {
    return this.#known !== undefined;
  }

  /** True: SQLite has to look through the whole file, because nobody has closed it. */
  get mustBeSound(): boolean {
    return this.#accepted !== undefined || this.#known?.isOpen === true;
  }

  /** The revision above which a file goes on that a person has accepted; undefined: nobody has. */
  get acceptedAbove(): number | undefined {
    return this.#accepted;
  }

  /** Takes the file as it is at the next open, up to `begin`. */
  accept(): void {
    this.#accepted = Math.max(this.#accepted ?? 0, this.#known?.revision ?? 0);
  }

  /** Throws OtherFileError for a file that must not be opened. */
  checkFile(): void {
    this.#hadLog = fileAt(`${this.#path}-wal`) !== undefined;
    if (this.#accepted !== undefined) return;
    this.#refuse(whyOtherFile(this.#known, fileAt(this.#path), this.#boot));
  }

  /** Throws OtherFileError if the open file has another content than before. */
  checkContent(id: string, revision: number): void {
    const found = { id, revision, hadLog: this.#hadLog };
    this.#refuse(whyOtherContent(this.#known, found, this.#boot));
  }

  /** Throws OtherFileError if the file should not be without tables. */
  isNew(): void {
    if (this.#known && this.#accepted === undefined) {
      this.#refuse(this.#hadLog ? 'it has no content' : whyWithoutLog('it has no content'));
    }
  }

  /** Throws OtherFileError: SQLite has found the file damaged. */
  notSound(what: string): never {
    throw new OtherFileError(this.#path, `it is damaged (${what})`);
  }

  /** Takes the open file for the one to watch from now on. */
  begin(id: string, revision: number): void {
    const seen = fileAt(this.#path) ?? { inode: 0, bytes: 0 };
    const onDisk = this.#known?.id === id ? Math.min(this.#known.onDisk, revision) : 0;
    this.#known = { version: 1, id, boot: this.#boot, revision, onDisk, ...seen, isOpen: true };
    this.#log = fileAt(`${this.#path}-wal`)?.inode;
    this.#memory.begin(this.#known);
    this.#accepted = undefined;
  }

  /** Throws OtherFileError if another file, or a shorter one, has taken the place of the open one. */
  check(): void {
    const known = this.#known;
    if (!known) return;
    const seen = fileAt(this.#path);
    if (!seen) this.#refuse('it was removed');
    else if (seen.inode !== known.inode) this.#refuse('another file was put in its place');
    else if (seen.bytes < known.bytes) this.#refuse(whyShorter(known.bytes, seen.bytes));
    else if (seen.bytes > known.bytes) this.#known = { ...known, bytes: seen.bytes };
    const log = fileAt(`${this.#path}-wal`)?.inode;
    if (log !== this.#log) this.#refuse('its log (-wal) was removed or replaced');
  }

  /** Records a revision that was committed or read. Throws OtherFileError if it went back. */
  saw(revision: number): void {
    const known = this.#known;
    if (!known || revision === known.revision) return;
    if (revision < known.revision) {
      const fell = `its revision was ${known.revision} and is ${revision}`;
      this.#refuse(`it was put back to an older state (${fell})`);
    }
    this.#known = { ...known, revision };
    this.#memory.note(this.#known);
  }

  /** Records that all up to a revision is on disk; it is written with the next commit. */
  synced(revision: number): void {
    if (this.#known && revision > this.#known.onDisk) {
      this.#known = { ...this.#known, onDisk: revision };
    }
  }

  /** Notes that SQLite closes the file: from here on, its log may be gone. */
  closing(): void {
    if (!this.#known) return;
    this.#known = { ...this.#known, isOpen: false };
    this.#memory.note(this.#known);
  }

  [Symbol.dispose](): void {
    const seen = fileAt(this.#path);
    if (this.#known && seen?.inode === this.#known.inode)
      this.#memory.note({ ...this.#known, ...seen });
    this.#memory[Symbol.dispose]();
  }

  #refuse(why: string | undefined): void {
    if (why !== undefined) throw new OtherFileError(this.#path, why);
  }
}

function fileAt(path: string): FileSeen | undefined {
  try {
    const { ino, size } = statSync(path);
    return { inode: ino, bytes: size };
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
