import { copyFile, open } from 'node:fs/promises';
import createDebug from 'debug';
import type { AppendFile } from '../../linux/append-file.ts';
import { appendFile } from '../../linux/append-file.ts';
import { readIfThere } from '../../linux/state-file.ts';
import type { Condition } from '../../lock/condition.ts';
import { allOf } from '../../running/all-of.ts';
import type { Clock } from '../../running/clock.ts';
import { diskProblem } from '../../running/disk-problem.ts';
import { Journal } from '../../running/journal.ts';
import { UnavailableError } from '../errors.ts';
import { withLostUses } from './mount-row.ts';
import type { MountRow } from './stored-row.ts';
import type { ReadTable } from './table-text.ts';
import { baseText, deleteLine, NewerTableError, putLine, readTable } from './table-text.ts';

export type { MountRow } from './stored-row.ts';

const log = createDebug('berth:mount');

/** The pause between two attempts to write a table. */
const retryMs = 1_000;

/** A change of the table that is written, and is being synced. */
export interface BegunRow {
  /** Resolves when the change survives a power cut. */
  readonly synced: Promise<void>;
}

/**
 * Records which volumes are mounted on this host, and by which IDs, in a file of the state directory
 * that grows by a line for each change (`table-text.ts`, `journal.ts`).
 *
 * What has to be in the file, at each step of a first Mount:
 *
 *     begin     the row, without an ID, is written before the driver mounts, and its sync begins. If
 *               the daemon is killed from here on, the next start finds the row and undoes the mount.
 *               A power cut may lose the row, but it ends the mount, too, and the ticket is dropped as
 *               one that nobody knows.
 *     complete  the row has its ID, and the row of `begin` is on disk, before the Mount is answered.
 *               The ID itself needs no sync: it means something only in the boot that wrote it
 *               (`MountStates`), and what is written outlives the process in that boot.
 *
 * and of the last Unmount:
 *
 *     delete    written after the driver has unmounted and before the lock is released: killed before,
 *               the next start finds a row without a mount and settles it. On disk, if the disk
 *               accepts it, before the Unmount is answered; the lock may be released meanwhile,
 *               because a power cut that brings the row back has ended the mount: the next start
 *               finds a row of another boot without a ticket, and drops it.
 *
 * So a Mount and an Unmount wait for one sync each, which those that come together share, and which
 * runs beside the other work of the operation. A disk that accepts nothing refuses each Mount, and
 * prevents no Unmount: a removed row counts at once and is written when the disk accepts it.
 *
 * Callers change one volume by one call at a time (they hold its mutex).
 */
export class MountTable implements AsyncDisposable {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #file: AppendFile;
  readonly #rows: Map<string, MountRow>;
  readonly #journal: Journal;
  readonly #stopping = new AbortController();
  /** The condition that stands while a part of the table could not be read. */
  readonly #damage: Condition | undefined;
  /** Volumes that may be mounted although they have no row: a part that can't be read names them. */
  readonly doubtful: readonly string[];
  #isRetrying = false;
  #problem: string | undefined;

  private constructor(path: string, clock: Clock, file: AppendFile, read: ReadTable) {
    this.#path = path;
    this.#clock = clock;
    this.#rows = new Map(read.rows);
    for (const [volume, row] of read.rows) {
      // A container whose Mount can't be read may use it, too.
      const isDoubtful = read.isAllDoubtful || read.doubtful.has(volume);
      if (isDoubtful) this.#rows.set(volume, withLostUses(row));
    }
    this.doubtful = [...read.doubtful].filter((volume) => !this.#rows.has(volume));
    const aside = `${path}.unreadable-${clock.date().toISOString()}`;
    const isDamaged = read.unreadable.length > 0;
    this.#damage = isDamaged ? damageOf(path, aside, read) : undefined;
    this.#file = isDamaged ? keptAside(file, path, aside) : file;
    this.#journal = new Journal(this.#file, () => baseText(this.#rows.values()), read.isBase);
  }

  /**
   * Reads the table; makes an empty one if there is none. Whatever can't be read is kept in a file
   * beside it. Rejects NewerTableError for the table of a later release, and when the file can't be
   * opened. A disk that can't be written rejects nothing: `conditions` says so.
   */
  static async open(path: string, clock: Clock, file = appendFile(path)): Promise<MountTable> {
    const text = await readIfThere(path, { trim: false });
    const table = new MountTable(path, clock, file, readTableAt(path, text));
    try {
      // Opened now, so that a file that is deleted later is noticed.
      if (table.#journal.isBase) await file.isThere();
      else await table.#journal.replace();
    } catch (error) {
      table.#hasFailed(error);
    }
    return table;
  }

  /** Lists what is wrong with the file. */
  conditions(): Condition[] {
    const problem = this.#problem && ({ severity: 'error', message: this.#problem } as const);
    return [this.#damage, problem].filter(
      (condition) => condition !== undefined && condition !== '',
    );
  }

  get(volume: string): MountRow | undefined {
    return this.#rows.get(volume);
  }

  rows(): MountRow[] {
    return [...this.#rows.values()];
  }

  /**
   * Adds the row of a mount that is about to be made; resolves when the row outlives this process.
   * Rejects as `put` does: there is no row then.
   */
  async begin(row: MountRow): Promise<BegunRow> {
    return await this.#required(this.#journal.stage(putLine(row), () => this.#set(row)));
  }

  /**
   * Replaces a row that was begun by the one with its ID. When this resolves, the ID outlives this
   * process, and the begun row a power cut. Rejects as `put` does; the row, with or without the ID,
   * is still there then.
   */
  async complete(row: MountRow, begun: BegunRow): Promise<void> {
    const appended = this.#journal.append(putLine(row), () => this.#set(row));
    // Both have ended before the caller may delete the row.
    await this.#required(allOf([appended, begun.synced]));
  }

  /**
   * Adds or replaces a row; it is on disk when this resolves. Rejects UnavailableError when the disk
   * refuses it: the table is then unchanged.
   */
  async put(row: MountRow): Promise<void> {
    await this.#required(this.#journal.commit(putLine(row), () => this.#set(row)));
  }

  /** Replaces a row with one that may reach the disk later: it adds no use that must be known. */
  async update(row: MountRow): Promise<void> {
    this.#set(row);
    await this.#wanted(this.#journal.commit(putLine(row), () => {}));
  }

  /**
   * Removes a row, which counts at once; resolves when that is written, or the disk has refused it.
   * `synced` resolves when the disk has it, or has refused it. The caller waits for that before it
   * answers, and may do other work meanwhile.
   */
  async delete(volume: string): Promise<BegunRow> {
    if (!this.#rows.delete(volume)) return { synced: Promise.resolve() };
    let synced = Promise.resolve();
    await this.#wanted(
      this.#journal
        .stage(deleteLine(volume), () => {})
        .then((staged) => {
          synced = this.#wanted(staged.synced);
        }),
    );
    return { synced };
  }

  /** Leaves the table as an earlier release reads it, if the disk accepts that. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#journal.idle();
    if (!this.#journal.isBase) await this.#wanted(this.#journal.replace());
    await this.#file[Symbol.asyncDispose]();
  }

  #set(row: MountRow): void {
    this.#rows.set(row.volume, row);
  }

  async #required<T>(writing: Promise<T>): Promise<T> {
    try {
      const result = await writing;
      this.#problem = undefined;
      return result;
    } catch (error) {
      const message = this.#hasFailed(error);
      throw new UnavailableError(message, { cause: error });
    }
  }

  async #wanted(writing: Promise<void>): Promise<void> {
    try {
      await writing;
      this.#problem = undefined;
    } catch (error) {
      this.#hasFailed(error);
    }
  }

  /** Retries until the file has all rows; a change that succeeds meanwhile writes them, too. */
  #hasFailed(error: unknown): string {
    log('ERROR %s: %s', this.#path, error);
    this.#problem = `the mounts can't be written down: ${diskProblem(error)}`;
    void this.#retry();
    return this.#problem;
  }

  async #retry(): Promise<void> {
    if (this.#isRetrying || this.#stopping.signal.aborted) return;
    this.#isRetrying = true;
    await this.#clock.sleep(retryMs, this.#stopping.signal);
    this.#isRetrying = false;
    if (this.#stopping.signal.aborted || this.#problem === undefined) return;
    await this.#wanted(this.#journal.replace());
  }
}

function readTableAt(path: string, text: string | undefined): ReadTable {
  try {
    return readTable(text ?? '');
  } catch (error) {
    if (!(error instanceof NewerTableError)) throw error;
    throw new NewerTableError(
      `the mount table ${path} was written by a later release of berth: ${error.message}; run ` +
        'that release, or stop it in order after unmounting every volume',
      { cause: error },
    );
  }
}

function damageOf(path: string, aside: string, { doubtful }: ReadTable): Condition {
  const about = doubtful.size === 0 ? '' : `, about ${[...doubtful].sort().join(', ')}`;
  const message =
    `the mount table ${path} could not be read completely${about}: mounts that it does not have ` +
    `any more are taken over from the kernel; the table as it was is kept in ${aside}`;
  return { severity: 'warning', message };
}

/** Returns the file, which copies itself to `aside` before it is replaced for the first time. */
function keptAside(file: AppendFile, path: string, aside: string): AppendFile {
  let isKept = false;
  return {
    ...file,
    replace: async (text) => {
      if (!isKept) await copyDurably(path, aside);
      isKept = true;
      await file.replace(text);
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await using copy = await open(to, 'r');
  await copy.sync();
}
