import { z } from 'zod';
import type { VolumeRecord } from '../volume.ts';
import { recordSchema } from '../volume.ts';

/*
 * The text of the remembered records: a line that says what they are, and a line for each change since.
 *
 *     {"format":2,"store":"etcd /berth"}
 *     {"put":{"name":"db",…}}      the record replaces that of its name
 *     {"delete":"web"}
 *
 * Format 1 was one JSON document with all records: {"store":…,"records":[…]}.
 */

const format = 2;

const headSchema = z.object({ format: z.literal(format), store: z.string() });
const firstSchema = z.object({ store: z.string(), records: z.array(z.unknown()) });
const lineSchema = z.union([z.object({ put: z.unknown() }), z.object({ delete: z.string() })]);

export interface ReadRecords {
  readonly records: Map<string, VolumeRecord>;
  /** True if lines can be added to the text. */
  readonly isWhole: boolean;
  /** Why a part of the text could not be read, if so. */
  readonly problem?: string;
}

/** Returns the text of all records. */
export function recordsText(store: string, records: Iterable<VolumeRecord>): string {
  return `${JSON.stringify({ format, store })}\n${[...records].map(putLine).join('')}`;
}

export function putLine(record: VolumeRecord): string {
  return `${JSON.stringify({ put: record })}\n`;
}

export function deleteLine(name: string): string {
  return `${JSON.stringify({ delete: name })}\n`;
}

/**
 * Reads as much of a text as can be read: a line that is torn or damaged hides no other, nor does a record
 * that this release can't use. The records of another store, and of a later format, are ignored.
 */
export function readRecords(text: string, store: string): ReadRecords {
  const [head = '', ...lines] = text.split('\n');
  const nothing = { records: new Map<string, VolumeRecord>(), isWhole: false };
  const first = parsed(head);
  const whole = firstSchema.safeParse(first).data;
  if (whole) return { ...nothing, records: ofFirstFormat(whole, store) };
  const read = headSchema.safeParse(first);
  if (!read.success) return { ...nothing, problem: `it does not begin with format ${format}` };
  if (read.data.store !== store) return nothing;
  const torn = lines.pop();
  const { records, damaged } = readLines(lines);
  if (damaged > 0) return { records, isWhole: false, problem: `${damaged} lines are damaged` };
  return { records, isWhole: torn === '' };
}

function ofFirstFormat(
  whole: z.infer<typeof firstSchema>,
  store: string,
): Map<string, VolumeRecord> {
  if (whole.store !== store) return new Map();
  const records = whole.records.flatMap((record) => recordSchema.safeParse(record).data ?? []);
  return new Map(records.map((record) => [record.name, record]));
}

function readLines(lines: readonly string[]) {
  const records = new Map<string, VolumeRecord>();
  let damaged = 0;
  for (const line of lines) {
    const change = lineSchema.safeParse(parsed(line)).data;
    if (!change) damaged += 1;
    else if ('delete' in change) records.delete(change.delete);
    else {
      const record = recordSchema.safeParse(change.put).data;
      if (record) records.set(record.name, record);
    }
  }
  return { records, damaged };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
