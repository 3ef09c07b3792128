import { LockUnsupportedError } from '../errors.ts';
import type { Session, SessionOptions } from './session.ts';
import { SessionKeeper } from './session.ts';

/** Each costs a lease and its renewals. */
const maxTtls = 8;

/**
 * This process's sessions: the main one, and one for each other TTL that was asked for. All locks
 * of one TTL hang on one session, so renewals don't grow with the number of locks.
 */
export class SessionPool {
  readonly #options: Omit<SessionOptions, 'onRevived'>;
  readonly #main: SessionKeeper;
  readonly #others = new Map<number, SessionKeeper>();
  readonly #reviveListeners = new Set<() => void>();

  constructor(options: Omit<SessionOptions, 'onRevived'>) {
    this.#options = options;
    this.#main = new SessionKeeper({ ...options, onRevived: this.#tellRevived });
  }

  /**
   * The session for a TTL (the main one when left out), opened or resumed if there is none.
   * Rejects when the store is away, LockUnsupportedError when its sessions have no TTL, RangeError
   * when too many different TTLs were asked for.
   */
  async get(ttlMs = this.#options.ttlMs): Promise<Session> {
    return this.#keeper(ttlMs).get();
  }

  /** The open session with this id, or else the main one. */
  async find(id: string): Promise<Session> {
    return (this.#keeperOf(id) ?? this.#main).get();
  }

  /** Whether a session with this id is open here. */
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
  onRevived(listener: () => void): Disposable {
    this.#reviveListeners.add(listener);
    return { [Symbol.dispose]: () => this.#reviveListeners.delete(listener) };
  }

  /** Ends renewal. `keep`: leaves the main session, with its tickets, to the next process. */
  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    const others = [...this.#others.values()].map((keeper) => keeper.close({ keep: false }));
    await Promise.all([this.#main.close({ keep }), ...others]);
  }

  #keeper(ttlMs: number): SessionKeeper {
    if (ttlMs === this.#options.ttlMs) return this.#main;
    const { keep: _, ...options } = this.#options;
    const { store } = options;
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
    const keeper = new SessionKeeper({ ...options, ttlMs, onRevived: this.#tellRevived });
    this.#others.set(ttlMs, keeper);
    return keeper;
  }

  #keepers(): SessionKeeper[] {
    return [this.#main, ...this.#others.values()];
  }

  #keeperOf(id: string): SessionKeeper | undefined {
    if (this.#main.current?.id === id) return this.#main; // Nearly always; asked for each event.
    return this.#keepers().find(({ current }) => current?.id === id);
  }

  #tellRevived = () => {
    for (const listener of [...this.#reviveListeners]) listener();
  };
}
