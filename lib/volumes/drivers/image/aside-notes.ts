import { z } from 'zod';
import { readIfThere } from '../../../linux/state-file.ts';
import type { FormerOwner } from '../takeover.ts';

/*
 * The notes beside a file that was put aside: whose it was, and the state in which the takeover left it. A
 * later time of change, or another size, means that the former owner has written to it since.
 */

const notesSchema = z.object({
  mark: z.string(),
  host: z.string(),
  owner: z.string(),
  token: z.number(),
  since: z.string(),
  at: z.string(),
  mtimeNs: z.string(),
  size: z.string(),
});

/** Returns the text of the notes of a takeover that is made now. */
export function notesText(
  { mark, host, owner, token, since }: FormerOwner,
  { mtimeNs, size }: { readonly mtimeNs: bigint; readonly size: bigint },
): string {
  const at = new Date().toISOString();
  const notes = { mark, host, owner, token, since, at };
  return JSON.stringify({ ...notes, mtimeNs: String(mtimeNs), size: String(size) });
}

/** Reads notes; undefined if there are none that can be read. */
export async function readNotes(path: string) {
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return notesSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // A person's own file; the image then counts as written to.
  }
}
