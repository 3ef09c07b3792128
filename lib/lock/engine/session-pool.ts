import createDebug from 'debug';
import { LockUnsupportedError } from '../errors.ts';
import { permanentSessionOf } from '../permanent-session.ts';
import type { Session, SessionOptions } from './session.ts';
import { SessionKeeper } from './session.ts';

const log = createDebug('berth:session');

/** Each costs a lease and its renewals. */
const maxTtls = 8;

/** How soon another main session is asked for when the store does not open one. */
const reopenMs = 1_000;

/**
 * This process's sessions: the main one, one for each other TTL that was asked for, and the
 * permanent one, which its owner has whether it was opened here or not. All locks of one TTL hang on
 * one session, so renewals don't grow with the number of locks.
 */
export class SessionPool {
  readonly #options: Omit<SessionOptions, 'onSessionHeard'>;
  readonly #main: SessionKeeper;
  readonly #others = new Map<number, SessionKeeper>();
  /** Only where sessions expire, and where there is a next process to see to what it leaves. */
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
   * The session for a TTL (the main one when left out, the permanent one when it is Infinity and
   * the store's sessions expire), opened or resumed if there is none.
   * Rejects when the store is away, LockUnsupportedError when its sessions have no TTL or there is
   * no permanent one here, RangeError when too many different TTLs were asked for.
   */
  async get(ttlMs = this.#options.ttlMs): Promise<Session> {
    return this.#open(this.#keeper(ttlMs));
  }

  /** The open session with this id, or else the main one. */
  async find(id: string): Promise<Session> {
    return this.#open(this.#keeperOf(id) ?? this.#main);
  }

  /** Whether a session with this id is open here, or the permanent one. */
  isOurs(id: string): boolean {
    return this.#keeperOf(id) !== undefined;
  }

  /** Whether the store is known to have dropped the session with this id. */
  hasEnded(id: string): boolean {
    const keeper = this.#keeperOf(id);
    return keeper ? keeper.current?.isGone === true : this.#main.current !== undefined;
  }

  /** The store does not know the session any more. */
  ended(session: Session): void {
    this.#keeperOf(session.id)?.ended(session);
  }

  /**
   * Gives a session up, with all that hangs on it: it is not renewed any more, so the store drops
   * it at the latest when its TTL has passed. The next request opens another.
   */
  drop(id: string): void {
    this.#keeperOf(id)?.drop();
  }

  /** The open session with this id. */
  session(id: string): Session | undefined {
    return this.#keeperOf(id)?.current;
  }

  /** The main session, if it has been opened. */
  get main(): Session | undefined {
    return this.#main.current;
  }

  /** The sessions that this process has. */
  sessions(): Session[] {
    return this.#keepers().flatMap(({ current }) => (current ? [current] : []));
  }

  /** Calls `listener` each time the store has confirmed a session, or that it is gone. */
  onSessionHeard(listener: () => void): Disposable {
    this.#heardListeners.add(listener);
    return { [Symbol.dispose]: () => this.#heardListeners.delete(listener) };
  }

  /**
   * Ends renewal. `keep`: leaves the main session and the permanent one, with their tickets, to the
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
   * Nobody renews the permanent session: that the store is back is told by the main one, so there
   * always is one of those beside it.
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
    if (this.#others.size === maxTtls) {
      throw new RangeError(
        `locks of one manager have at most ${maxTtls + 1} different TTLs, so ${ttlMs} ms is one too many`,
      );
    }
    const keeper = new SessionKeeper({ ...options, ttlMs, onSessionHeard: this.#tellHeard });
    this.#others.set(ttlMs, keeper);
    return keeper;
  }

  #keepers(): SessionKeeper[] {
    const permanent = this.#permanent ? [this.#permanent.keeper] : [];
    return [this.#main, ...permanent, ...this.#others.values()];
  }

  #keeperOf(id: string): SessionKeeper | undefined {
    if (this.#main.current?.id === id) return this.#main; // Nearly always; asked for each event.
    if (this.#permanent?.id === id) return this.#permanent.keeper;
    return this.#keepers().find(({ current }) => current?.id === id);
  }

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

/** Its id follows from the owner, so there is nothing to save or to resume. */
function permanentOf(options: Omit<SessionOptions, 'onSessionHeard'>, onSessionHeard: () => void) {
  const { store, owner, keep } = options;
  if (!keep || !store.properties.sessionsExpire) return undefined;
  const nothing = { resume: undefined, save: async () => {} };
  const ttlMs = Number.POSITIVE_INFINITY;
  const keeper = new SessionKeeper({ ...options, ttlMs, keep: nothing, onSessionHeard });
  return { id: permanentSessionOf(owner), keeper };
}
