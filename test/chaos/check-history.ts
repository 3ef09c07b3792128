import type { HistoryEvent, WriteOutcome } from './history.ts';

/** A set as the store had it from one revision on. */
export interface SetVersion {
  readonly revision: number;
  readonly elements: readonly (readonly [element: string, token: number])[];
}

/** What the processes did, and what became of the sets: each with all its versions, oldest first. */
export interface Evidence {
  readonly events: readonly HistoryEvent[];
  readonly sets: ReadonlyMap<string, readonly SetVersion[]>;
}

/** Everything that must never happen and did, in words; empty when all is well. */
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
  // A history in which nothing was written proves nothing.
  return events.some(({ op }) => op === 'written') ? found : [...found, 'nothing was written'];
}

/** The elements that were acknowledged and are not in the set. */
export function lostElements({ events, sets }: Evidence): string[] {
  return [...sets].flatMap(([set, versions]) => {
    const last = elementsOf(versions.at(-1));
    const own = events.filter((event) => concerns(event, set));
    return writesThat(own, 'written').filter((element) => !last.has(element));
  });
}

/**
 * Whoever proved to hold the lock at two moments held it in between, so these times of different
 * tickets can't overlap, and follow one another in the order of the tokens.
 */
function overlaps(own: readonly HistoryEvent[]): string[] {
  const tenures = new Map<number, { process: string; token: number; from: number; to: number }>();
  const found: string[] = [];
  for (const event of own) {
    if (event.op !== 'held') continue;
    const { process, token, atMs } = event;
    const tenure = tenures.get(token) ?? { process, token, from: atMs, to: atMs };
    if (tenure.process !== process) {
      found.push(`token ${token} was granted to ${tenure.process} and to ${process}`);
    }
    tenure.to = atMs;
    tenures.set(token, tenure);
  }
  const inOrder = [...tenures.values()].sort((a, b) => a.token - b.token);
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

/** Whoever asks when another already stands in the queue comes after it. */
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

/** Once a holder has read the set, nobody who held the lock before may change it. */
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
 * Each change adds one element, with no lower token than those before. A write that is repeated
 * because its answer was lost may come twice in a row.
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

/** What was acknowledged is in the set; what was refused, or never written, is not. */
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
