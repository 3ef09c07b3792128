import createDebug from 'debug';
import { z } from 'zod';
import { readIfThere, replaceFile } from '../../linux/state-file.ts';
import { ticketSchema } from '../../lock/ticket-schema.ts';
import type { Clock } from '../../running/clock.ts';
import { diskProblem } from '../../running/disk-problem.ts';
import { LatestOnly } from '../../running/latest-only.ts';
import { UnavailableError } from '../errors.ts';
import { lockRulesSchema } from '../volume.ts';

const log = createDebug('berth:mount');

/** The pause between two attempts to write a table. */
const retryMs = 1_000;

const rowSchema = z.object({
  volume: z.string(),
  driver: z.string(),
  options: z.record(z.string(), z.string()),
  ...lockRulesSchema.shape,
  mountpoint: z.string(),
  ticket: ticketSchema,
  /** The mount mark; its stored name is older than the word. */
  tenure: z.string().optional(), // tidy-ok: stored name
  /** The boot in which it was mounted: after another one the kernel's mount is gone. */
  bootId: z.string(),
  /** The engine's mount IDs and how often each has been mounted. Empty: a mount in progress. */
  mountIds: z.record(z.string(), z.object({ count: z.number(), confirmed: z.boolean() })),
});

/** One volume mounted on this host, as it must be known after a crash. */
// tidy-ok: stored name
export type MountRow = Omit<StoredRow, 'tenure'> & {
  /** The mount mark (`mountMarkKey`) that the Mount wrote; absent: the volume is shared. */
  readonly mountMark?: string;
};

type StoredRow = z.infer<typeof rowSchema>;

const tableSchema = z.object({ version: z.literal(1), rows: z.array(rowSchema) });

/**
 * Records which volumes are mounted on this host, and by which IDs: a small file in the state
 * directory, replaced as a whole and flushed at each change, so that after a crash it has the state
 * either before the change or after it.
 *
 * An added row is on disk before it counts. A removed row counts at once, and is written as soon as
 * the disk accepts it: a full disk prevents no unmount, and the next start settles a row that a
 * crash left behind.
 */
export class MountTable implements Disposable {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #rows: Map<string, MountRow>;
  /** The last of the replacements of the file, which run one at a time. */
  #replacing: Promise<void> = Promise.resolve();
  readonly #writing = new LatestOnly(() => this.#write());
  readonly #stopping = new AbortController();
  #isRetrying = false;
  #problem: string | undefined;

  private constructor(path: string, clock: Clock, rows: readonly MountRow[]) {
    this.#path = path;
    this.#clock = clock;
    this.#rows = new Map(rows.map((row) => [row.volume, row]));
  }

  /** Reads the table; none there: an empty one. Rejects on a file that is not a mount table. */
  static async open(path: string, clock: Clock): Promise<MountTable> {
    const text = await readIfThere(path);
    if (text === undefined) return new MountTable(path, clock, []);
    try {
      const { rows } = tableSchema.parse(JSON.parse(text));
      return new MountTable(path, clock, rows.map(rowOf));
    } catch (error) {
      throw new Error(
        `${path} is not a mount table of this version; move it away after unmounting every volume`,
        { cause: error },
      );
    }
  }

  /** Says why the last attempt to write the file failed; undefined: it succeeded. */
  get problem(): string | undefined {
    return this.#problem;
  }

  get(volume: string): MountRow | undefined {
    return this.#rows.get(volume);
  }

  rows(): MountRow[] {
    return [...this.#rows.values()];
  }

  /**
   * Adds or replaces a row; it is on disk when this resolves. Rejects UnavailableError when the disk
   * refuses it: the table is then unchanged.
   */
  async put(row: MountRow): Promise<void> {
    await this.#inTurn(async () => {
      await this.#replace(new Map(this.#rows).set(row.volume, row));
      this.#rows.set(row.volume, row);
    });
  }

  /** Replaces a row with one that may reach the disk later: it adds no use that must be known. */
  async update(row: MountRow): Promise<void> {
    this.#rows.set(row.volume, row);
    await this.#writing.run();
  }

  async delete(volume: string): Promise<void> {
    if (this.#rows.delete(volume)) await this.#writing.run();
  }

  /** Stops retrying what could not be written. */
  [Symbol.dispose](): void {
    this.#stopping.abort();
  }

  /** Writes the table now, or when the disk accepts it. */
  async #write(): Promise<void> {
    try {
      await this.#inTurn(() => this.#replace(this.#rows));
    } catch (error) {
      log('ERROR %s', error);
      void this.#retry();
    }
  }

  async #retry(): Promise<void> {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    await this.#clock.sleep(retryMs, this.#stopping.signal);
    this.#isRetrying = false;
    if (!this.#stopping.signal.aborted) await this.#writing.run();
  }

  #inTurn(step: () => Promise<void>): Promise<void> {
    this.#replacing = this.#replacing.catch(() => {}).then(step);
    return this.#replacing;
  }

  async #replace(rows: ReadonlyMap<string, MountRow>): Promise<void> {
    try {
      const text = JSON.stringify(
        { version: 1, rows: [...rows.values()].map(storedRow) },
        undefined,
        1,
      );
      await replaceFile(this.#path, text);
      this.#problem = undefined;
    } catch (error) {
      this.#problem = `the mounts can't be written down: ${diskProblem(error)}`;
      throw new UnavailableError(this.#problem, { cause: error });
    }
  }
}

// tidy-ok: stored name
function rowOf({ tenure: mountMark, ...row }: StoredRow): MountRow {
  return mountMark === undefined ? row : { ...row, mountMark };
}

function storedRow({ mountMark, ...row }: MountRow): StoredRow {
  return mountMark === undefined ? row : { ...row, tenure: mountMark }; // tidy-ok: stored name
}
