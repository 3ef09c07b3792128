import { z } from 'zod';
import { ticketSchema } from '../lock/ticket-schema.ts';
import { readIfThere, replaceFile } from '../state-file.ts';
import { lockRulesSchema } from './volume.ts';

const rowSchema = z.object({
  volume: z.string(),
  driver: z.string(),
  options: z.record(z.string(), z.string()),
  ...lockRulesSchema.shape,
  mountpoint: z.string(),
  ticket: ticketSchema,
  /** The boot in which it was mounted: after another one the kernel's mount is gone for certain. */
  bootId: z.string(),
  /** The engine's mount IDs and how often each has been mounted. Empty: a mount in progress. */
  mountIds: z.record(z.string(), z.object({ count: z.number(), confirmed: z.boolean() })),
});

/** One volume mounted on this host, as it must be known again after a crash. */
export type MountRow = z.infer<typeof rowSchema>;

const tableSchema = z.object({ version: z.literal(1), rows: z.array(rowSchema) });

/**
 * Which volumes are mounted on this host and for whom: a small file in the state directory,
 * replaced as a whole and flushed at each change, so that after a crash it says either what was
 * before the change or after it.
 */
export class MountTable {
  readonly #path: string;
  readonly #rows: Map<string, MountRow>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, rows: readonly MountRow[]) {
    this.#path = path;
    this.#rows = new Map(rows.map((row) => [row.volume, row]));
  }

  /** Reads the table; none there: an empty one. Rejects on a file that is not a mount table. */
  static async open(path: string): Promise<MountTable> {
    const text = await readIfThere(path);
    if (text === undefined) return new MountTable(path, []);
    try {
      const { rows } = tableSchema.parse(JSON.parse(text));
      return new MountTable(path, rows);
    } catch (error) {
      throw new Error(
        `${path} is not a mount table of this version; move it away after unmounting every volume`,
        { cause: error },
      );
    }
  }

  get(volume: string): MountRow | undefined {
    return this.#rows.get(volume);
  }

  rows(): MountRow[] {
    return [...this.#rows.values()];
  }

  /** Adds or replaces a row; it is on disk when this resolves. */
  async put(row: MountRow): Promise<void> {
    this.#rows.set(row.volume, row);
    await this.#write();
  }

  async delete(volume: string): Promise<void> {
    if (this.#rows.delete(volume)) await this.#write();
  }

  #write(): Promise<void> {
    this.#writing = this.#writing.catch(() => {}).then(() => this.#replace());
    return this.#writing;
  }

  async #replace(): Promise<void> {
    const text = JSON.stringify({ version: 1, rows: this.rows() }, undefined, 1);
    await replaceFile(this.#path, text);
  }
}
