import type { Claim, HistoryEvent } from './history.ts';

interface Writer {
  readonly host: string;
  readonly volume: string;
  readonly user: string;
}

interface Excuse {
  readonly host: string;
  /** Undefined: it excuses all users of the host. */
  readonly user: string | undefined;
  readonly why: string;
  readonly untilMs: number;
}

/** Holds the facts after the events that were applied. */
export class Facts {
  /** The host that holds each volume, by the store. */
  readonly holders = new Map<string, string>();
  /** The mounts whose lease has expired, by host and volume. */
  readonly #lapsed = new Map<string, { host: string; volume: string; sinceMs: number }>();
  readonly #lastEnds = new Map<string, number>();
  readonly #claimedAt = new Map<string, number>();
  readonly #mounted = new Set<string>();
  readonly #sleepsUntil = new Map<string, Map<string, number>>();
  readonly #writers = new Map<string, Writer>();
  readonly #users = new Map<string, Map<string, readonly string[]>>();
  readonly #claims = new Map<string, { host: string; volume: string; is: Claim }>();
  readonly #excuses = new Map<string, Map<string, Excuse>>();
  /** The copies in progress, by host and volume, with who has written since their begin. */
  readonly #copies = new Map<string, Set<string>>();

  get writers(): readonly Writer[] {
    return [...this.#writers.values()];
  }

  get claims(): readonly { host: string; volume: string; is: Claim }[] {
    return [...this.#claims.values()];
  }

  get lapsed(): readonly { host: string; volume: string; sinceMs: number }[] {
    return [...this.#lapsed.values()];
  }

  /** Returns when a user of the host ended last. */
  lastEnd(host: string): number {
    return this.#lastEnds.get(host) ?? Number.NEGATIVE_INFINITY;
  }

  /** Returns when the claim about a volume changed last. */
  claimedAt(host: string, volume: string): number {
    return this.#claimedAt.get(`${host} ${volume}`) ?? Number.NEGATIVE_INFINITY;
  }

  claimOf(host: string, volume: string): Claim | undefined {
    return this.#claims.get(`${host} ${volume}`)?.is;
  }

  /** Returns until when a process of the host sleeps; a fence may not be complete before. */
  sleepsUntil(host: string): number {
    return Math.max(Number.NEGATIVE_INFINITY, ...(this.#sleepsUntil.get(host)?.values() ?? []));
  }

  writersOf(host: string, volume: string): string[] {
    return this.writers
      .filter((writer) => writer.host === host && writer.volume === volume)
      .map(({ user }) => user);
  }

  usersOf(host: string, volume: string): string[] {
    const users = this.#users.get(host) ?? new Map<string, readonly string[]>();
    return [...users].filter(([, volumes]) => volumes.includes(volume)).map(([user]) => user);
  }

  /** Returns true if a user of the volume uses another one, in whose frozen file system it may wait. */
  sharesUsers(host: string, volume: string): boolean {
    const users = [...(this.#users.get(host)?.values() ?? [])];
    return users.some((volumes) => volumes.includes(volume) && volumes.length > 1);
  }

  /** Returns until when a user can't be kept from writing; `except`: an excuse that does not count. */
  excusedUntil(host: string, user: string, except?: string): number {
    let latest = Number.NEGATIVE_INFINITY;
    for (const excuse of this.#excuses.get(host)?.values() ?? []) {
      if (excuse.user !== undefined && excuse.user !== user) continue;
      if (excuse.why !== except) latest = Math.max(latest, excuse.untilMs);
    }
    return latest;
  }

  /** Returns who has written to the volume since its copy began, and could have been kept from it. */
  wroteDuringCopy(host: string, volume: string): string[] {
    return [...(this.#copies.get(`${host} ${volume}`) ?? [])];
  }

  apply(event: HistoryEvent): void {
    switch (event.kind) {
      case 'granted':
        this.holders.set(event.volume, event.host);
        this.#lapsed.delete(`${event.host} ${event.volume}`);
        break;
      case 'removed':
        if (this.holders.get(event.volume) === event.host) this.holders.delete(event.volume);
        this.#noteLapse(event);
        break;
      case 'mounted':
        this.#mounted.add(`${event.host} ${event.volume}`);
        break;
      case 'unmounted':
        this.#mounted.delete(`${event.host} ${event.volume}`);
        this.#lapsed.delete(`${event.host} ${event.volume}`);
        break;
      case 'told':
        // From then on its users must end, which takes as long as their engine does.
        if (event.state === 'lost' || event.state === 'evicted') {
          this.#lapsed.delete(`${event.host} ${event.volume}`);
        }
        break;
      case 'sleeps':
        this.#noteSleep(event);
        break;
      case 'copying': {
        const { host, volume, at } = event;
        const writing = this.writersOf(host, volume).filter((user) =>
          this.#isBound(host, user, at),
        );
        this.#copies.set(`${host} ${volume}`, new Set(writing));
        break;
      }
      case 'writing': {
        const { host, volume, user, at } = event;
        this.#writers.set(keyOf(event), event);
        if (this.#isBound(host, user, at)) this.#copies.get(`${host} ${volume}`)?.add(user);
        break;
      }
      case 'still':
        this.#writers.delete(keyOf(event));
        break;
      case 'appeared': {
        const users = this.#users.get(event.host) ?? new Map<string, readonly string[]>();
        this.#users.set(event.host, users.set(event.user, event.volumes));
        break;
      }
      case 'ended':
        this.#lastEnds.set(event.host, event.at);
        this.#users.get(event.host)?.delete(event.user);
        this.#forgetExcuses(event.host, event.user);
        break;
      case 'claimed': {
        const { host, volume, is, at } = event;
        this.#claimedAt.set(`${host} ${volume}`, at);
        if (is === undefined) this.#claims.delete(`${host} ${volume}`);
        else this.#claims.set(`${host} ${volume}`, { host, volume, is });
        break;
      }
      case 'excused': {
        const excuses = this.#excuses.get(event.host) ?? new Map<string, Excuse>();
        this.#excuses.set(event.host, excuses.set(`${event.user} ${event.why}`, event));
        break;
      }
      default:
        break; // It changes none of these facts.
    }
  }

  /** Returns true if a sentinel can keep the user from writing. */
  #isBound(host: string, user: string, at: number): boolean {
    return this.excusedUntil(host, user) < at;
  }

  #noteSleep({ host, in: where, untilMs }: { host: string; in: string; untilMs: number }): void {
    const ends = this.#sleepsUntil.get(host) ?? new Map<string, number>();
    const known = ends.get(where) ?? Number.NEGATIVE_INFINITY;
    // Storage hangs, and a crowd stays, until more is said of it; several processes may sleep in turn.
    const isAwake = known === Number.POSITIVE_INFINITY;
    this.#sleepsUntil.set(host, ends.set(where, isAwake ? untilMs : Math.max(known, untilMs)));
  }

  #noteLapse({ host, volume, at }: { host: string; volume: string; at: number }): void {
    const key = `${host} ${volume}`;
    if (this.#mounted.has(key)) this.#lapsed.set(key, { host, volume, sinceMs: at });
  }

  #forgetExcuses(host: string, user: string): void {
    const excuses = this.#excuses.get(host);
    for (const [key, excuse] of excuses ?? []) if (excuse.user === user) excuses?.delete(key);
  }
}

function keyOf({ host, volume, user }: Writer): string {
  return `${host} ${volume} ${user}`;
}
