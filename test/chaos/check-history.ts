import type { HistoryEvent, WriteOutcome } from './history.ts';

/** The value of a set from one revision on. */
export interface SetVersion {
  readonly revision: number;
  readonly elements: readonly (readonly [element: string, token: number])[];
}

/** The events of the processes, and all versions of each set, oldest first. */
export interface Evidence {
  readonly events: readonly HistoryEvent[];
  readonly sets: ReadonlyMap<string, readonly SetVersion[]>;
}

/** Returns everything that must never happen and did, in words. */
export function violationsIn({ events, sets }: Evidence): string[] {
  const found = [...sets].flatMap(([set, versions]) => {
    const own = events.filter((event) => concerns(event, set));
    const inSet = [
      ...overlaps(own),
      ...queueJumps(own),
      ...lateWrites(own, versions),
      ...versions.flatMap((version, index) => badChange(versions[index - 1], version)),
      ...wrongOutcomes(own, versions),
    ];
    return [...new Set(inSet)].map((text) => `${set}: ${text}`);
  });
  // A history without writes proves nothing.
  return events.some(({ op }) => op === 'written') ? found : [...found, 'nothing was written'];
}

/** Returns the elements that were acknowledged and are not in the set. */
export function lostElements({ events, sets }: Evidence): string[] {
  return [...sets].flatMap(([set, versions]) => {
    const last = elementsOf(versions.at(-1));
    const own = events.filter((event) => concerns(event, set));
    return writesThat(own, 'written').filter((element) => !last.has(element));
  });
}

/**
 * The law of exclusion. A process that held a lock at two moments held it in between, so these
 * periods of different tickets can't overlap, and follow each other in the order of the tokens.
 */
function overlaps(own: readonly HistoryEvent[]): string[] {
  const holds = new Map<number, { process: string; token: number; from: number; to: number }>();
  const found: string[] = [];
  for (const event of own) {
    if (event.op !== 'held') continue;
    const { process, token, atMs } = event;
    const hold = holds.get(token) ?? { process, token, from: atMs, to: atMs };
    if (hold.process !== process) {
      found.push(`token ${token} was granted to ${hold.process} and to ${process}`);
    }
    hold.to = atMs;
    holds.set(token, hold);
  }
  const inOrder = [...holds.values()].sort((a, b) => a.token - b.token);
  for (const [index, later] of inOrder.entries()) {
    const before = inOrder[index - 1];
    if (!before || before.to < later.from) continue;
    const byMs = (before.to - later.from).toFixed(3);
    found.push(
      `${before.process} (token ${before.token}) still held it ${byMs} ms after ${later.process} (token ${later.token}) did`,
    );
  }
  return found;
}

/** The law of order: a request that is made while another is queued comes after that one. */
function queueJumps(own: readonly HistoryEvent[]): string[] {
  const requests = new Map<string, number>();
  const found: string[] = [];
  let lastInQueue = 0;
  for (const event of own) {
    if (event.op === 'request') requests.set(event.process, lastInQueue);
    else if (event.op === 'queued') lastInQueue = Math.max(lastInQueue, event.token);
    else if (event.op === 'held' && event.token < (requests.get(event.process) ?? 0)) {
      found.push(`${event.process} (token ${event.token}) passed somebody who had queued before`);
    }
  }
  return found;
}

/** The law of effects: once a holder has read the set, no earlier holder may change it. */
function lateWrites(own: readonly HistoryEvent[], versions: readonly SetVersion[]): string[] {
  const found: string[] = [];
  for (const event of own) {
    if (event.op !== 'read') continue;
    for (const { revision, elements } of versions) {
      const [element, token = 0] = elements.at(-1) ?? [];
      if (revision <= event.revision || token >= event.token) continue;
      found.push(
        `${element} (token ${token}) was written after the holder with token ${event.token} had read the set`,
      );
    }
  }
  return found;
}

/**
 * The law of changes: each change adds one element, with no lower token than before. A write that
 * is repeated because its answer was lost may come twice in a row.
 */
function badChange(before: SetVersion | undefined, after: SetVersion): string[] {
  const old = before?.elements ?? [];
  const at = `revision ${after.revision}`;
  const added = after.elements.slice(old.length);
  const isExtended = old.every(([element], index) => after.elements[index]?.[0] === element);
  if (!isExtended || added.length > 1) {
    return [`${at} does not extend the one before: an update was lost`];
  }
  const last = old.at(-1)?.[1] ?? 0;
  const token = added[0]?.[1] ?? last;
  return token < last ? [`${at} was written with token ${token}, after ${last}`] : [];
}

/** The law of outcomes: acknowledged writes are in the set; refused or unknown elements are not. */
function wrongOutcomes(own: readonly HistoryEvent[], versions: readonly SetVersion[]): string[] {
  const last = elementsOf(versions.at(-1));
  const tried = new Set(writesThat(own, 'write'));
  return [
    ...writesThat(own, 'written')
      .filter((element) => !last.has(element))
      .map((element) => `${element} was acknowledged and is lost`),
    ...writesThat(own, 'refused')
      .filter((element) => last.has(element))
      .map((element) => `${element} was refused and is there`),
    ...[...last]
      .filter((element) => !tried.has(element))
      .map((element) => `${element} is there and nobody wrote it`),
  ];
}

function concerns(event: HistoryEvent, set: string): boolean {
  if ('sets' in event) return event.sets.includes(set);
  return 'set' in event && event.set === set;
}

function writesThat(own: readonly HistoryEvent[], op: 'write' | WriteOutcome): string[] {
  return own.flatMap((event) => (event.op === op && 'element' in event ? [event.element] : []));
}

function elementsOf(version: SetVersion | undefined): Set<string> {
  return new Set((version?.elements ?? []).map(([element]) => element));
}
