/** One write of a container: a line of the volume's file. */
export interface WriterRecord {
  readonly host: string;
  /** The token of the lock under which the volume was mounted. */
  readonly token: number;
  /** A name that is unique to one start of a container. */
  readonly start: string;
  /** The number of the record within its start, from 1. */
  readonly counter: number;
  /** The time since boot, by the clock that all hosts share, at the start of the write. */
  readonly atMs: number;
}

/** The file of one volume, and the records that its writers saw acknowledged. */
export interface WritersEvidence {
  readonly volume: string;
  /** The lines of the file at the end. */
  readonly file: readonly string[];
  /** The records whose flush to storage had ended, of all hosts, in any order. */
  readonly acknowledged: readonly string[];
}

export interface WritersFigures {
  readonly acknowledged: number;
  /** The number of grants of the volume's lock under which records were written. */
  readonly turns: number;
  /** The number of changes from one host to another. */
  readonly failovers: number;
  /** The longest time between two successive acknowledged records. */
  readonly longestGapMs: number;
  /** The median time between the last acknowledged record of a turn and the first of the next. */
  readonly medianHandoverMs: number;
}

/** The limit for one kind of violation, so that it does not hide the others. */
const maxOfOneKind = 5;

/** Parses the line that a writer appends. */
export function parseRecord(line: string): WriterRecord | undefined {
  const match = /^(\S+) (\d+) (\S+) (\d+) (\d+\.\d\d)$/.exec(line);
  if (!match) return undefined;
  const [, host = '', token, start = '', counter, seconds] = match;
  return {
    host,
    token: Number(token),
    start,
    counter: Number(counter),
    atMs: Math.round(Number(seconds) * 1_000),
  };
}

/** Returns everything that must never happen and did, in words. */
export function writerViolations({ volume, file: lines, acknowledged }: WritersEvidence): string[] {
  const file = lines.map(withoutHole);
  const records = file.flatMap((line, index) => {
    const record = parseRecord(line);
    return record ? [{ ...record, line: index + 1 }] : [];
  });
  const found = [
    limited(tornLines(file)),
    limited(lateWrites(records)),
    limited(overlaps(records)),
    limited(sharedTokens(records)),
    limited(interleavings(records)),
    limited(brokenCounts(records)),
    limited(lostRecords(file, acknowledged)),
    // A run without writes proves nothing.
    acknowledged.length === 0 ? ['nothing was acknowledged'] : [],
  ];
  return found.flat().map((text) => `${volume}: ${text}`);
}

/** Computes how available the volume was. */
export function writersFigures({ file: lines, acknowledged }: WritersEvidence): WritersFigures {
  const file = lines.map(withoutHole);
  const safe = new Set(acknowledged);
  const records = file.flatMap((line) => (safe.has(line) ? (parseRecord(line) ?? []) : []));
  let longestGapMs = 0;
  let failovers = 0;
  const handoversMs: number[] = [];
  for (const [index, record] of records.entries()) {
    const before = records[index - 1];
    if (!before) continue;
    const gapMs = record.atMs - before.atMs;
    longestGapMs = Math.max(longestGapMs, gapMs);
    if (record.token !== before.token) handoversMs.push(gapMs);
    if (record.host !== before.host) failovers += 1;
  }
  handoversMs.sort((a, b) => a - b);
  return {
    acknowledged: safe.size,
    turns: new Set(records.map(({ token }) => token)).size,
    failovers,
    longestGapMs,
    medianHandoverMs: handoversMs[Math.floor(handoversMs.length / 2)] ?? 0,
  };
}

interface FileRecord extends WriterRecord {
  readonly line: number;
}

/**
 * Removes the NULs before a record. A file system that is cut off may keep the length of its last
 * write, which was never acknowledged, without its bytes; the next holder then appends after NULs.
 * A missing record is still found.
 */
function withoutHole(line: string): string {
  return line.replace(/^\0+/, '');
}

function tornLines(file: readonly string[]): string[] {
  return file.flatMap((line, index) =>
    parseRecord(line) ? [] : [`line ${index + 1} is torn: ${JSON.stringify(line)}`],
  );
}

/** The law of tokens: a later grant has a larger one, so a smaller one belongs to a past holder. */
function lateWrites(records: readonly FileRecord[]): string[] {
  let latest: FileRecord | undefined;
  return records.flatMap((record) => {
    if (!latest || record.token >= latest.token) {
      latest = record;
      return [];
    }
    return [`${named(record)} was written after ${named(latest)}: two hosts wrote at once`];
  });
}

/** The law of time: a holder begins only after the one before could no longer write. */
function overlaps(records: readonly FileRecord[]): string[] {
  let latest: FileRecord | undefined;
  return records.flatMap((record) => {
    const before = latest;
    if (!latest || record.atMs >= latest.atMs) latest = record;
    if (!before || record.token <= before.token || record.atMs >= before.atMs) return [];
    const byMs = before.atMs - record.atMs;
    return [`${named(record)} began ${byMs} ms before ${named(before)}: two hosts wrote at once`];
  });
}

function sharedTokens(records: readonly FileRecord[]): string[] {
  const owners = new Map<number, string>();
  return records.flatMap(({ token, host }) => {
    const owner = owners.get(token) ?? host;
    owners.set(token, host);
    return owner === host ? [] : [`token ${token} was ${owner}'s and ${host}'s`];
  });
}

/** The law of starts: a host may start its container again in a turn, but not two at once. */
function interleavings(records: readonly FileRecord[]): string[] {
  const ended = new Set<string>();
  return records.flatMap((record, index) => {
    const before = records[index - 1];
    if (!before || before.start === record.start) return [];
    ended.add(before.start);
    return ended.has(record.start) && before.token === record.token
      ? [
          `${named(record)} was written at the same time as ${named(before)}: two containers of one host`,
        ]
      : [];
  });
}

function brokenCounts(records: readonly FileRecord[]): string[] {
  const counters = new Map<string, number>();
  return records.flatMap((record) => {
    const expected = (counters.get(record.start) ?? 0) + 1;
    counters.set(record.start, record.counter);
    return record.counter === expected
      ? []
      : [`${named(record)} is at the place of record ${expected}`];
  });
}

function lostRecords(file: readonly string[], acknowledged: readonly string[]): string[] {
  const there = new Set(file);
  return acknowledged.filter((line) => !there.has(line)).map((line) => `lost: ${line}`);
}

function named({ host, token, counter, line }: FileRecord): string {
  return `${host}'s record ${counter} (token ${token}, line ${line})`;
}

function limited(found: readonly string[]): string[] {
  const more = found.length - maxOfOneKind;
  return more > 0 ? [...found.slice(0, maxOfOneKind), `and ${more} more of this kind`] : [...found];
}
