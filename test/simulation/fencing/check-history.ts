import { volumeNames, volumes } from './commands.ts';
import { Facts } from './facts.ts';
import type { HistoryEvent } from './history.ts';
import { kernelName, unfenced } from './history.ts';

/** A law that a history breaks, and when it was broken. */
export interface Violation {
  /** The name of the law, then what happened: `exclusion: …`. */
  readonly message: string;
  readonly at: number;
}

/** Checks a history against the laws of fencing; returns nothing when it keeps all. */
export function violationsOf(history: readonly HistoryEvent[]): Violation[] {
  const facts = new Facts();
  const violations: Violation[] = [];
  let before = 0;
  for (const event of history) {
    const messages = [...judge(event), ...judgeCopy(facts, event)];
    // What is true between two events lasts for that time; excuses may end in between.
    if (event.at > before) {
      for (const law of [judgeWriters, judgeClaims, judgeLapses]) {
        messages.push(...law(facts, event.at));
      }
    }
    before = event.at;
    facts.apply(event);
    violations.push(...messages.map((message) => ({ message, at: event.at })));
  }
  return violations;
}

/** The law of writes: a host writes to a volume only while the store says that it holds it. */
function judgeWriters(facts: Facts, at: number): string[] {
  return facts.writers
    .filter(({ host, volume }) => facts.holders.get(volume) !== host)
    .filter(({ host, user }) => facts.excusedUntil(host, user) < at)
    .map(({ host, volume, user }) => {
      const holder = facts.holders.get(volume) ?? 'nobody';
      return `exclusion: ${user} of ${host} writes to ${volume}, which ${holder} holds`;
    });
}

/** The law of copies: what is said to be of one moment was not written to meanwhile. */
function judgeCopy(facts: Facts, event: HistoryEvent): string[] {
  if (event.kind !== 'copied') return [];
  const { host, volume } = event;
  return facts
    .wroteDuringCopy(host, volume)
    .map((user) => `one moment: ${user} of ${host} wrote to ${volume} while it was copied`);
}

/** The law of reports: `fenced` and `ended` are said only of what is so. */
function judgeClaims(facts: Facts, at: number): string[] {
  const found: string[] = [];
  for (const { host, volume, is } of facts.claims) {
    if (is === 'running') continue;
    // A process of the host that may not be stopped keeps a volume from being fenced, not from ending.
    const except = is === 'fenced' ? unfenced : undefined;
    const isKnown = (user: string) => facts.excusedUntil(host, user, except) < at;
    const users = is === 'fenced' ? facts.writersOf(host, volume) : facts.usersOf(host, volume);
    for (const user of users.filter(isKnown)) {
      const does = is === 'fenced' ? 'writes to it' : 'uses it';
      found.push(`honest report: ${volume} of ${host} is said to be ${is} while ${user} ${does}`);
    }
  }
  return found;
}

/** A fence is complete this long after the lease has expired, and after the last excuse has ended. */
const fenceWithinMs = 4_000;

/** The law of fences: a volume whose lease has expired is soon fenced. */
function judgeLapses(facts: Facts, at: number): string[] {
  const isLate = (ms: number) => ms + fenceWithinMs < at;
  return facts.lapsed
    .filter(({ host, volume, sinceMs }) => {
      const users = facts.usersOf(host, volume);
      const excuses = [undefined, kernelName, ...users].map((user) =>
        facts.excusedUntil(host, user ?? ''),
      );
      const sinceOf = [
        sinceMs,
        facts.claimedAt(host, volume),
        facts.sleepsUntil(host),
        facts.lastEnd(host),
      ];
      return [...sinceOf, ...excuses].every(isLate);
    })
    .filter(({ host, volume }) => !endsUsers(volume) && !facts.sharesUsers(host, volume))
    .filter(({ host, volume }) => {
      const claim = facts.claimOf(host, volume);
      return claim !== 'fenced' && claim !== 'ended';
    })
    .map(
      ({ host, volume }) => `fences: ${volume} of ${host} is not fenced ${fenceWithinMs} ms later`,
    );
}

/** Ending many users takes as long as their engine does; until then they stand still. */
function endsUsers(volume: string): boolean {
  return volumeNames.some((name) => name === volume && volumes[name].onLost === 'stop');
}

function judge(event: HistoryEvent): string[] {
  switch (event.kind) {
    case 'let run': {
      const { user, host, against } = event;
      if (against.length === 0) return [];
      return [`stands still: ${user} of ${host} was released against ${against.join(', ')}`];
    }
    case 'forgot':
      return [
        `never forgets: the sentinel of ${event.host} does not watch ${event.volume} any more`,
      ];
    case 'finished':
      return event.leftovers.map((leftover) => `never stuck: ${leftover}`);
    case 'bug':
      return [`bug: ${event.message}`];
    default:
      return [];
  }
}
