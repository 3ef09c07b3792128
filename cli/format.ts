import type { GateReply, HolderReply } from '../plugin/admin/api/locks.ts';

/**
 * Returns a text without what changes a terminal: names and reasons come from the store, which every host of the
 * cluster writes. Line ends stay.
 */
export function visible(text: string): string {
  return text.replaceAll(/(?!\n)[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, '\uFFFD');
}

/** Returns a table whose columns are as wide as their widest cell. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headers, ...rows];
  const widths = headers.map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines
    .map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Returns one line per fact; leaves out facts without a value. */
export function facts(pairs: Readonly<Record<string, string | undefined>>): string {
  const known = Object.entries(pairs).filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(0, ...known.map(([name]) => name.length));
  return known.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}

/** Returns a time with its age: `2026-01-02T03:04:05Z (5 min ago)`. */
export function since(time: string, now: Date = new Date()): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const text = date.toISOString().replace(/\.\d+Z$/, 'Z');
  return `${text} (${ago(time, now)})`;
}

/** Returns how long ago a time was: `5 min ago`. */
export function ago(time: string, now: Date = new Date()): string {
  return `${age(now.getTime() - Date.parse(time))} ago`;
}

/**
 * Returns an age in its largest whole unit: `5 min`. A time ahead of this host's clock is `0 s`.
 */
function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Returns a holder as text: `host n2 (Mount, web) since …, token 7`. */
export function holderText({ host, reason, detail, since: time, token }: HolderReply): string {
  const why = detail === undefined ? reason : `${reason}, ${detail}`;
  return `host ${host} (${why}) since ${since(time)}, token ${token}`;
}

/** Returns who disabled a volume, as text: `host n1 since …: upgrade`. */
export function gateText({ host, since: time, why }: Omit<GateReply, 'volume' | 'facets'>): string {
  return `host ${host} since ${since(time)}${why === undefined ? '' : `: ${why}`}`;
}
