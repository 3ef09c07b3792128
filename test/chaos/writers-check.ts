/** What one container wrote with one write: a line of the volume's file. */
export interface WriterRecord {
  readonly host: string;
  /** Of the lock under which its volume was mounted. */
  readonly token: number;
  /** Unique to one start of a container. */
  readonly start: string;
  /** The how many-th record of that start. */
  readonly counter: number;
  /** By the machine's clock since boot, which all hosts share, as the write began. */
  readonly atMs: number;
}

/** What the hosts wrote to one volume, and what they were told was safe there. */
export interface WritersEvidence {
  readonly volume: string;
  /** The file as it is in the end, line by line. */
  readonly file: readonly string[];
  /** The records whose flush to storage had ended, of all hosts, in any order. */
  readonly acknowledged: readonly string[];
}

export interface WritersFigures {
  readonly acknowledged: number;
  /** How often the volume was given to somebody. */
  readonly tenures: number;
  /** How often another host got it than the one before. */
  readonly failovers: number;
  /** Between two acknowledged records in a row. */
  readonly longestGapMs: number;
  /** Between the last acknowledged record of a tenure and the first of the next. */
  readonly medianHandoverMs: number;
}

/** More of one kind would hide the others. */
const told = 5;

/** The line that a writer appends. */
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

/** Everything that must never happen and did, in words; empty when all is well. */
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
    // A run in which nothing was written proves nothing.
    acknowledged.length === 0 ? ['nothing was acknowledged'] : [],
  ];
  return found.flat().map((text) => `${volume}: ${text}`);
}

/** How the volume fared. */
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
    tenures: new Set(records.map(({ token }) => token)).size,
    failovers,
    longestGapMs,
    medianHandoverMs: handoversMs[Math.floor(handoversMs.length / 2)] ?? 0,
  };
}

interface FileRecord extends WriterRecord {
  readonly line: number;
}

/**
 * A file system that is cut off may keep the length of its last write, which was never acknowledged,
 * without the bytes: NULs, after which the next holder goes on. A missing record shows all the same.
 */
function withoutHole(line: string): string {
  return line.replace(/^\0+/, '');
}

function tornLines(file: readonly string[]): string[] {
  return file.flatMap((line, index) =>
    parseRecord(line) ? [] : [`line ${index + 1} is torn: ${JSON.stringify(line)}`],
  );
}

/** A later grant has a larger token, so whoever writes with a smaller one has lost the volume. */
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

/** The next one could only begin when the one before could write no more. */
function overlaps(records: readonly FileRecord[]): string[] {
  let latest: FileRecord | undefined;
  return records.flatMap((record) => {
    const before = latest;
    if (!latest || record.atMs >= latest.atMs) latest = record;
    if (!before || record.token <= before.token || record.atMs >= before.atMs) return [];
    const byMs = before.atMs - record.atMs;
    return [
      `${named(record)} was begun ${byMs} ms before ${named(before)}: two hosts wrote at once`,
    ];
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

/** A host may start its container again within a tenure, but not beside the one before. */
function interleavings(records: readonly FileRecord[]): string[] {
  const ended = new Set<string>();
  return records.flatMap((record, index) => {
    const before = records[index - 1];
    if (!before || before.start === record.start) return [];
    ended.add(before.start);
    return ended.has(record.start) && before.token === record.token
      ? [`${named(record)} was written beside ${named(before)}: two containers of one host`]
      : [];
  });
}

function brokenCounts(records: readonly FileRecord[]): string[] {
  const counters = new Map<string, number>();
  return records.flatMap((record) => {
    const expected = (counters.get(record.start) ?? 0) + 1;
    counters.set(record.start, record.counter);
    return record.counter === expected ? [] : [`${named(record)} is where ${expected} had to be`];
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
  const more = found.length - told;
  return more > 0 ? [...found.slice(0, told), `and ${more} more of this kind`] : [...found];
}
