import type { MountRow } from './stored-row.ts';
import { rowOf, rowText } from './stored-row.ts';

/*
 * The text of a mount table: a base, and a line for each change since.
 *
 *     {"version":1,"rows":[        the base: a whole JSON document, as earlier releases wrote it,
 *     {"volume":"db",…},           with a line for each row
 *     {"volume":"web",…}
 *     ]}
 *     {"put":{"volume":"db",…}}    a change: the row replaces that of its volume
 *     {"delete":"web"}
 *
 * An earlier release reads a table that has no change since its base, which is how an orderly stop
 * leaves the table. It refuses to start with any other. It wrote the base over many lines.
 */

const head = '{"version":1,"rows":[';
const foot = ']}';

export interface ReadTable {
  readonly rows: ReadonlyMap<string, MountRow>;
  /** The parts that can't be read: damaged, or of a release that this one does not know. */
  readonly unreadable: readonly string[];
  /** The volumes of which an unreadable part speaks, and no later line. */
  readonly doubtful: ReadonlySet<string>;
  /** True if an unreadable part names no volume: any may be concerned. */
  readonly isAllDoubtful: boolean;
  /** True if the text is a base and nothing else, so that changes can be appended to it. */
  readonly isBase: boolean;
}

/** Returns a table's base. */
export function baseText(rows: Iterable<MountRow>): string {
  return `${head}\n${[...rows].map(rowText).join(',\n')}\n${foot}\n`;
}

export function putLine(row: MountRow): string {
  return `{"put":${rowText(row)}}\n`;
}

export function deleteLine(volume: string): string {
  return `${JSON.stringify({ delete: volume })}\n`;
}

/** The table was written by a later release than this one. */
export class NewerTableError extends Error {
  override readonly name = 'NewerTableError';
}

/**
 * Reads the text of a table, as much of it as can be read. Ignores a last line that is torn: the
 * process or the power ended before the line was on disk, and so before the call was answered. Throws
 * NewerTableError for a newer format.
 */
export function readTable(text: string): ReadTable {
  const version = /^\s*\{\s*"version":\s*(\d+)/.exec(text)?.[1];
  if (version !== undefined && version !== '1') {
    throw new NewerTableError(`it has format ${version}, and this release knows format 1 only`);
  }
  const table = new TableReader();
  if (text.startsWith(`${head}\n`)) table.readLines(text);
  else table.readDocument(text);
  return table;
}

class TableReader implements ReadTable {
  readonly rows = new Map<string, MountRow>();
  readonly unreadable: string[] = [];
  readonly doubtful = new Set<string>();
  isAllDoubtful = false;
  isBase = false;

  /** Reads the document of an earlier release, which has no changes behind it. */
  readDocument(text: string): void {
    const rows = rowsOf(text);
    if (rows === undefined) this.readLines(text);
    else for (const row of rows) this.#read(JSON.stringify(row), () => this.#put(row));
  }

  readLines(text: string): void {
    const lines = text.split('\n');
    const torn = lines.pop();
    const end = lines.indexOf(foot);
    this.isBase = torn === '' && lines[0] === head && end === lines.length - 1;
    for (const [number, line] of lines.entries()) {
      // A power cut may leave zeros where a block of the last append was not written.
      if (line === head || line === foot || /^\0*$/.test(line)) continue;
      const json = number < end ? line.replace(/,$/, '') : line;
      this.#read(line, () => this.#apply(JSON.parse(json)));
    }
  }

  #apply(change: unknown): void {
    if (typeof change !== 'object' || change === null) throw new Error('it is no change');
    if ('put' in change) this.#put(change.put);
    else if ('delete' in change && typeof change.delete === 'string') this.#delete(change.delete);
    else this.#put(change);
  }

  #put(stored: unknown): void {
    const row = rowOf(stored);
    this.rows.set(row.volume, row);
    this.doubtful.delete(row.volume);
  }

  #delete(volume: string): void {
    this.rows.delete(volume);
    this.doubtful.delete(volume);
  }

  #read(text: string, read: () => void): void {
    try {
      read();
    } catch {
      this.isBase = false;
      this.unreadable.push(text);
      const names = [...text.matchAll(/"(?:volume|delete)":\s*"([^"\\]+)"/g)];
      for (const [, name] of names) if (name !== undefined) this.doubtful.add(name);
      if (names.length === 0) this.isAllDoubtful = true;
    }
  }
}

/** Returns the rows of a table that is one JSON document; undefined if the text is none. */
function rowsOf(text: string): readonly unknown[] | undefined {
  try {
    const { rows } = JSON.parse(text);
    return Array.isArray(rows) ? rows : undefined;
  } catch {
    return undefined;
  }
}
