import createDebug from 'debug';
import type { HistoryChangedError } from '../errors.ts';
import { LockUnsupportedError } from '../errors.ts';
import { permanentSessionOf } from '../permanent-session.ts';
import type { Session, SessionOptions } from './session.ts';
import { SessionKeeper } from './session.ts';

const log = createDebug('berth:session');

/** Each TTL costs a lease and its renewals. Counts those in use, without the main one. */
const maxTtls = 8;

/** Pause between attempts to open a new main session. */
const reopenMs = 1_000;

/**
 * The sessions of this process: the main one, one for each other TTL that requests use, and the
 * owner's permanent session. All locks with one TTL share a session, so the number of renewals does
 * not grow with the number of locks.
 */
export class SessionPool {
  readonly #options: Omit<SessionOptions, 'onSessionHeard'>;
  readonly #main: SessionKeeper;
  readonly #others = new Map<number, SessionKeeper>();
  /** How many running requests use the session of a TTL: they may have no ticket yet. */
  readonly #requests = new Map<number, number>();
  /** True if this process has a ticket of a session, or does not know whether it is removed. */
  hasTickets: (sessionId: string) => boolean = () => true;
  /** Present where sessions expire and a later process takes over the tickets (option `keep`). */
  readonly #permanent: { readonly id: string; readonly keeper: SessionKeeper } | undefined;
  readonly #heardListeners = new Set<() => void>();
  readonly #closing = new AbortController();
  #isReopening = false;

  constructor(options: Omit<SessionOptions, 'onSessionHeard'>) {
    this.#options = options;
    this.#main = new SessionKeeper({ ...options, onSessionHeard: this.#heardOfMain });
    this.#permanent = permanentOf(options, this.#tellHeard);
  }

  /**
   * Returns the session for a TTL; opens or resumes one if there is none. The default is the main
   * session; for Infinity it is the permanent session if the store's sessions expire.
   * Rejects when the store is away, LockUnsupportedError when its sessions have no TTL or there is
   * no permanent session here, RangeError while too many other TTLs are in use.
   */
  async get(ttlMs = this.#options.ttlMs): Promise<Session> {
    return this.#open(this.#keeper(ttlMs));
  }

  /** Keeps the session of a TTL open while a request runs. */
  using(ttlMs = this.#options.ttlMs): Disposable {
    const change = (by: number) => {
      const count = (this.#requests.get(ttlMs) ?? 0) + by;
      if (count > 0) this.#requests.set(ttlMs, count);
      else this.#requests.delete(ttlMs);
    };
    change(1);
    return { [Symbol.dispose]: () => change(-1) };
  }

  /** Returns the open session with this id, or else the main session. */
  async find(id: string): Promise<Session> {
    return this.#open(this.#keeperOf(id) ?? this.#main);
  }

  /** True if this process has opened the session with this id, or it is the permanent session. */
  isOurs(id: string): boolean {
    return this.#keeperOf(id) !== undefined;
  }

  /** True if the store is known to have ended the session with this id. */
  hasEnded(id: string): boolean {
    const keeper = this.#keeperOf(id);
    return keeper ? keeper.current?.isGone === true : this.#main.current !== undefined;
  }

  /** Records that the store has ended the session. */
  ended(session: Session): void {
    this.#keeperOf(session.id)?.ended(session);
  }

  /**
   * Closes a session with all its tickets. It is not renewed any more, so the store removes it at
   * the latest when its TTL has passed. The next request opens a new session.
   */
  drop(id: string): void {
    this.#keeperOf(id)?.drop();
  }

  /** Ends the period of every session, because the store has another history. */
  historyChanged(reason: HistoryChangedError): void {
    for (const keeper of this.#keepers()) keeper.historyChanged(reason);
  }

  /** Returns the open session with this id. */
  session(id: string): Session | undefined {
    return this.#keeperOf(id)?.current;
  }

  /** The main session; undefined before it is first opened. */
  get main(): Session | undefined {
    return this.#main.current;
  }

  /** Returns all open sessions of this process. */
  sessions(): Session[] {
    return this.#keepers().flatMap(({ current }) => (current ? [current] : []));
  }

  /** Calls `listener` at each renewal of a session, and when the store has ended one. */
  onSessionHeard(listener: () => void): Disposable {
    this.#heardListeners.add(listener);
    return { [Symbol.dispose]: () => this.#heardListeners.delete(listener) };
  }

  /**
   * Stops renewing. `keep`: leaves the main and the permanent session, with their tickets, to the
   * next process.
   */
  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    this.#closing.abort();
    const others = [...this.#others.values()].map((keeper) => keeper.close({ keep: false }));
    await Promise.all([
      this.#main.close({ keep }),
      this.#permanent?.keeper.close({ keep }),
      ...others,
    ]);
  }

  /**
   * Opens the main session before the permanent one. The permanent session is never renewed, so
   * only the main session reports that the store is back.
   */
  async #open(keeper: SessionKeeper): Promise<Session> {
    if (keeper === this.#permanent?.keeper) await this.#main.get();
    return keeper.get();
  }

  #keeper(ttlMs: number): SessionKeeper {
    if (ttlMs === this.#options.ttlMs) return this.#main;
    const { keep: _, ...options } = this.#options;
    const { store } = options;
    if (ttlMs === Number.POSITIVE_INFINITY) {
      if (!store.properties.sessionsExpire) return this.#main;
      if (this.#permanent) return this.#permanent.keeper;
      throw new LockUnsupportedError(
        'a lock that outlives its host needs a lock manager with the option keep: without it no later process would take the lock back or remove it',
      );
    }
    if (!store.properties.sessionsExpire) {
      throw new LockUnsupportedError(
        `the ${store.name} store frees the locks of a process when it ends, so they have no TTL`,
      );
    }
    const known = this.#others.get(ttlMs);
    if (known) return known;
    if (this.#others.size === maxTtls) this.#dropUnused(ttlMs);
    const keeper = new SessionKeeper({ ...options, ttlMs, onSessionHeard: this.#tellHeard });
    this.#others.set(ttlMs, keeper);
    return keeper;
  }

  /** Makes room for the session of another TTL. Throws RangeError if requests or locks use all. */
  #dropUnused(wantedMs: number): void {
    for (const [ttlMs, keeper] of this.#others) {
      const { current } = keeper;
      const isUsed = this.#requests.has(ttlMs) || (current && this.hasTickets(current.id));
      if (isUsed) continue;
      keeper.drop();
      this.#others.delete(ttlMs);
      return;
    }
    const used = [this.#options.ttlMs, ...this.#others.keys()].sort((a, b) => a - b);
    throw new RangeError(
      `locks of one manager have at most ${maxTtls + 1} different TTLs at a time, so ${wantedMs} ms is one too many; ` +
        `use one of ${used.join(', ')} ms`,
    );
  }

  #keepers(): SessionKeeper[] {
    const permanent = this.#permanent ? [this.#permanent.keeper] : [];
    return [this.#main, ...permanent, ...this.#others.values()];
  }

  #keeperOf(id: string): SessionKeeper | undefined {
    if (this.#main.current?.id === id) return this.#main; // The usual case, first.
    if (this.#permanent?.id === id) return this.#permanent.keeper;
    return this.#keepers().find(({ current }) => current?.id === id);
  }

  /** Opens a new main session at once if the permanent one depends on it. */
  #heardOfMain = () => {
    this.#tellHeard();
    if (this.#main.current?.isGone && this.#permanent?.keeper.current) void this.#reopen();
  };

  async #reopen(): Promise<void> {
    if (this.#isReopening) return;
    this.#isReopening = true;
    while (!this.#closing.signal.aborted) {
      try {
        await this.#main.get();
        break;
      } catch (error) {
        log('no new session yet: %s', error);
        await this.#options.clock.sleep(reopenMs, this.#closing.signal);
      }
    }
    this.#isReopening = false;
    this.#tellHeard();
  }

  #tellHeard = () => {
    for (const listener of [...this.#heardListeners]) listener();
  };
}

/** Creates the keeper of the permanent session. Its id follows from the owner: nothing to save. */
function permanentOf(options: Omit<SessionOptions, 'onSessionHeard'>, onSessionHeard: () => void) {
  const { store, owner, keep } = options;
  if (!keep || !store.properties.sessionsExpire) return undefined;
  const nothing = { resume: undefined, save: async () => {} };
  const ttlMs = Number.POSITIVE_INFINITY;
  const keeper = new SessionKeeper({ ...options, ttlMs, keep: nothing, onSessionHeard });
  return { id: permanentSessionOf(owner), keeper };
}
