import { z } from 'zod';
import { ticketSchema } from '../../lock/ticket-schema.ts';
import { lockRulesSchema } from '../volume.ts';

/** How often the engine has mounted a volume with one ID. */
export interface MountUse {
  readonly count: number;
  /** False: the present engine process has sent no Mount for it (docs/mount-accounting.md). */
  readonly confirmed: boolean;
}

const fields = {
  volume: z.string(),
  driver: z.string(),
  options: z.record(z.string(), z.string()),
  ...lockRulesSchema.shape,
  mountpoint: z.string(),
  ticket: ticketSchema,
  /** The boot in which it was mounted: after another one the kernel's mount is gone. */
  bootId: z.string(),
  /**
   * The store's history in which the lock was proved last; absent: written by an earlier release, or
   * the store keeps none.
   */
  history: z.string().optional(),
};

const storedSchema = z.object({
  ...fields,
  /** The mount mark; its stored name is older than the word. */
  tenure: z.string().optional(), // tidy-ok: stored name
  // Not a zod record, which drops the ID `__proto__`.
  mountIds: z.custom<object>((value) => typeof value === 'object' && value !== null),
});

/** An earlier release counted to `null` (NaN) for an ID such as `constructor`. */
const useSchema = z
  .object({ count: z.number().nullable(), confirmed: z.boolean() })
  .transform(
    ({ count, confirmed }): MountUse =>
      count === null ? { count: 1, confirmed: false } : { count, confirmed },
  );

/** One volume mounted on this host, as it must be known after a crash. */
// tidy-ok: stored name
export type MountRow = Omit<z.infer<typeof storedSchema>, 'tenure' | 'mountIds'> & {
  /** The mount mark (`mountMarkKey`) that the Mount wrote; absent: the volume is shared. */
  readonly mountMark?: string;
  /** The uses by the engine's mount IDs, which are any text. Empty: a mount in progress. */
  readonly mountIds: ReadonlyMap<string, MountUse>;
};

/** Reads a row from parsed JSON; throws if it is no row. */
export function rowOf(stored: unknown): MountRow {
  const { tenure: mountMark, mountIds, ...row } = storedSchema.parse(stored); // tidy-ok: stored name
  const uses = new Map(Object.entries(mountIds).map(([id, use]) => [id, useSchema.parse(use)]));
  return { ...row, ...(mountMark === undefined ? {} : { mountMark }), mountIds: uses };
}

/** Returns the JSON of a row, in one line. */
export function rowText({ mountMark, mountIds, ...row }: MountRow): string {
  const uses = Object.fromEntries(mountIds); // `__proto__` becomes an own property.
  const stored = mountMark === undefined ? row : { ...row, tenure: mountMark }; // tidy-ok: stored name
  return JSON.stringify({ ...stored, mountIds: uses });
}
