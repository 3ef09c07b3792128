import { z } from 'zod';
import { recordSchema } from '../volume.ts';
import { recordKey } from './catalog.ts';

/*
 * The text of the remembered records: a line that says what they are, and a line for each change since.
 *
 *     {"format":3,"store":"etcd /berth"}
 *     {"put":{"key":"volumes/db","value":"{…}","revision":7}}      the record replaces that of its key
 *     {"delete":"volumes/web","revision":9}
 *     {"lost":{"key":…,"value":…,"revision":7,"history":"3e1c…","seen":9}}   the store lacks it (lost-records.ts)
 *     {"found":"volumes/db"}                                        not lost any more
 *     {"history":"77f0…"}                                           what the store has is of this history
 *
 * Earlier formats had the volumes alone: 1 was one JSON document, {"store":…,"records":[…]}; 2 had the lines
 * {"put":{"name":"db",…}} and {"delete":"web"}.
 */

const format = 3;

/** A record of the store, as this host saw it last. */
export interface RememberedRecord {
  readonly key: string;
  readonly value: string;
  /** The store's revision of it. */
  readonly revision: number;
}

/** A remembered record that the store lacks. */
export interface LostRecord extends RememberedRecord {
  /** The ID of the store's history in which it was seen; empty: not known. */
  readonly history: string;
  /** The revision of the last record that this host had seen in that history. */
  readonly seen: number;
}

/** Everything that a host remembers of the store. */
export interface Remembered {
  /** The records that the store has, by key. */
  readonly known: Map<string, RememberedRecord>;
  /** The records that the store lacks, by key. */
  readonly lost: Map<string, LostRecord>;
  /** The ID of the history of `known`; empty: an earlier release did not say; undefined: there is none yet. */
  history: string | undefined;
  /** The revision of the last record that was seen in that history. */
  seen: number;
}

const headSchema = z.object({ format: z.number(), store: z.string() });
const firstSchema = z.object({ store: z.string(), records: z.array(z.unknown()) });
const recordFields = { key: z.string(), value: z.string(), revision: z.number() };
const lostFields = { ...recordFields, history: z.string(), seen: z.number() };
const lineSchema = z.union([
  z.object({ put: z.object(recordFields) }),
  z.object({ delete: z.string(), revision: z.number() }),
  z.object({ lost: z.object(lostFields) }),
  z.object({ found: z.string() }),
  z.object({ history: z.string() }),
]);
const secondSchema = z.union([z.object({ put: z.unknown() }), z.object({ delete: z.string() })]);

export interface ReadRecords {
  readonly remembered: Remembered;
  /** True if lines can be added to the text. */
  readonly isWhole: boolean;
  /** Why a part of the text could not be read, if so. */
  readonly problem?: string;
}

export function nothingRemembered(): Remembered {
  return { known: new Map(), lost: new Map(), history: undefined, seen: 0 };
}

/** Returns the text of everything that is remembered. */
export function recordsText(store: string, remembered: Remembered): string {
  const { known, lost, history } = remembered;
  return [
    lineOf({ format, store }),
    ...(history === undefined ? [] : [historyLine(history)]),
    ...[...known.values()].map(putLine),
    ...[...lost.values()].map(lostLine),
  ].join('');
}

export function putLine({ key, value, revision }: RememberedRecord): string {
  return lineOf({ put: { key, value, revision } });
}

export function deleteLine(key: string, revision: number): string {
  return lineOf({ delete: key, revision });
}

export function lostLine({ key, value, revision, history, seen }: LostRecord): string {
  return lineOf({ lost: { key, value, revision, history, seen } });
}

export function foundLine(key: string): string {
  return lineOf({ found: key });
}

export function historyLine(history: string): string {
  return lineOf({ history });
}

/**
 * Reads as much of a text as can be read: a line that is torn or damaged hides no other. The records of
 * another store, and of a later format, are ignored.
 */
export function readRecords(text: string, store: string): ReadRecords {
  const [head = '', ...lines] = text.split('\n');
  const nothing = { remembered: nothingRemembered(), isWhole: false };
  const first = parsed(head);
  const whole = firstSchema.safeParse(first).data;
  if (whole) return whole.store === store ? ofVolumes(whole.records) : nothing;
  const read = headSchema.safeParse(first).data;
  if (read?.format !== format && read?.format !== 2) {
    return { ...nothing, problem: `it does not begin with format ${format}` };
  }
  if (read.store !== store) return nothing;
  const torn = lines.pop();
  if (read.format === 2) return ofVolumes(secondFormat(lines));
  const { remembered, damaged } = readLines(lines);
  if (damaged > 0) return { remembered, isWhole: false, problem: `${damaged} lines are damaged` };
  return { remembered, isWhole: torn === '' };
}

/** Returns the volumes of a text of an earlier format; those that this release can't use are left out. */
function ofVolumes(records: Iterable<unknown>): ReadRecords {
  const remembered = { ...nothingRemembered(), history: '' };
  for (const each of records) {
    const record = recordSchema.safeParse(each).data;
    if (!record) continue;
    const key = recordKey(record.name);
    remembered.known.set(key, { key, value: JSON.stringify(each), revision: 0 });
  }
  return { remembered, isWhole: false };
}

function secondFormat(lines: readonly string[]): Iterable<unknown> {
  const records = new Map<string, unknown>();
  for (const line of lines) {
    const change = secondSchema.safeParse(parsed(line)).data;
    if (!change) continue;
    if ('delete' in change) records.delete(change.delete);
    else {
      const record = recordSchema.safeParse(change.put).data;
      if (record) records.set(record.name, change.put);
    }
  }
  return records.values();
}

function readLines(lines: readonly string[]) {
  const remembered = nothingRemembered();
  const { known, lost } = remembered;
  const saw = (revision: number) => {
    remembered.seen = Math.max(remembered.seen, revision);
  };
  let damaged = 0;
  for (const line of lines) {
    const change = lineSchema.safeParse(parsed(line)).data;
    if (!change) damaged += 1;
    else if ('put' in change) {
      known.set(change.put.key, change.put);
      saw(change.put.revision);
    } else if ('delete' in change) {
      known.delete(change.delete);
      saw(change.revision);
    } else if ('lost' in change) {
      known.delete(change.lost.key);
      lost.set(change.lost.key, change.lost);
    } else if ('found' in change) lost.delete(change.found);
    else {
      remembered.history = change.history;
      remembered.seen = highest(known.values());
    }
  }
  return { remembered, damaged };
}

/** Returns the highest revision among records. */
export function highest(records: Iterable<RememberedRecord>): number {
  return [...records].reduce((most, { revision }) => Math.max(most, revision), 0);
}

function lineOf(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
