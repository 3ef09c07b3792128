import createDebug from 'debug';
import type { Clock } from '../../running/clock.ts';
import { diskProblem } from '../../running/disk-problem.ts';
import { messageOf } from '../../running/message-of.ts';
import { LockLostError, SessionGoneError, StoreUnavailableError } from '../errors.ts';
import type { OpenSession, TicketStore } from '../stores/ticket-store.ts';
import type { Reports } from './reports.ts';

const log = createDebug('berth:session');

export interface SessionOptions {
  readonly store: TicketStore;
  readonly clock: Clock;
  /** How long the store keeps the tickets of a host that it does not hear of; Infinity: for ever. */
  readonly ttlMs: number;
  /** The host's identity. */
  readonly owner: string;
  /** Present when the session is to survive a restart of this process. */
  readonly keep?: Keep;
  /** Called each time the store has confirmed the session, or that it is gone. */
  readonly onSessionHeard: () => void;
  readonly reports: Reports;
}

interface Keep {
  /** The session of the process before this one, if any. */
  readonly resume: string | undefined;
  /** Called with each new session's id, before it is used. */
  readonly save: (id: string) => Promise<void>;
}

/**
 * This process's lease in the store, opened when first needed and renewed until closed.
 *
 * Its **deadline** is the send time of the last successful renewal, plus the TTL granted, less a
 * margin: until then the store can't have given our tickets away. At the deadline the session
 * *lapses*: every lock on it is lost for its holder, although the tickets may still stand. When the
 * store is heard again and still knows the session, it *revives*: the tickets stand, and whoever
 * wants one back attaches to it. When the store does not know it any more it is *gone*.
 */
export class SessionKeeper {
  readonly #options: SessionOptions;
  readonly #closing = new AbortController();
  #opening: Promise<Session> | undefined;
  #current: Session | undefined;
  #resume: string | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#resume = options.keep?.resume;
  }

  /** The session, opened or resumed if there is none. Rejects when the store is away. */
  async get(): Promise<Session> {
    this.#closing.signal.throwIfAborted();
    if (this.#current && !this.#current.isGone) return this.#current;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** The session last opened. */
  get current(): Session | undefined {
    return this.#current;
  }

  /** The store does not know the session any more. */
  ended(session: Session): void {
    if (session.isGone) return;
    log('gone session=%s', session.id);
    session.gone();
    this.#options.onSessionHeard();
  }

  /** Gives the session up. The store drops it now, or when its TTL has passed. */
  drop(): void {
    const session = this.#current;
    if (!session || session.isGone) return;
    log('dropped session=%s', session.id);
    this.ended(session);
    this.#options.store.closeSession(session.id).catch((error) => {
      log('session=%s is left to expire: %s', session.id, messageOf(error));
    });
  }

  /** Ends renewal. `keep`: leaves the session, with its tickets, to the next process. */
  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new LockLostError('berth is stopping'));
    const session = (await this.#opening?.catch(() => undefined)) ?? this.#current;
    if (!session) return;
    const { store } = this.#options;
    // A kept session gets its whole TTL for the time until the next process renews it.
    const sentAt = this.#options.clock.now();
    const last = keep
      ? store.renewSession(session.id).then(({ ttlMs }) => session.renewed(sentAt, ttlMs))
      : store.closeSession(session.id);
    await last.catch((error) =>
      log('last word of session=%s failed: %s', session.id, error.message),
    );
  }

  async #open(): Promise<Session> {
    const { store, clock, ttlMs, owner, keep } = this.#options;
    const resume = this.#resume;
    const sentAt = clock.now();
    const opened = await store.openSession({
      ttlMs,
      owner,
      resumable: keep !== undefined,
      ...(resume === undefined ? {} : { resume }),
    });
    if (keep && opened.id !== resume) await this.#save(keep, opened);
    this.#resume = undefined;
    const session = new Session(opened.id, opened.resumed, clock, sentAt, opened.ttlMs);
    log('%s session=%s ttl=%dms', opened.resumed ? 'resumed' : 'opened', opened.id, opened.ttlMs);
    this.#current = session;
    if (opened.ttlMs !== Number.POSITIVE_INFINITY) {
      void this.#renew(session);
      void this.#watchDeadline(session);
    }
    return session;
  }

  /** A session that the next process would not find again is of no use: it is given back. */
  async #save({ save }: Keep, { id, resumed }: OpenSession): Promise<void> {
    try {
      await save(id);
    } catch (error) {
      if (!resumed)
        await this.#options.store.closeSession(id).catch(() => {
          // Nothing hangs on it, and it expires.
        });
      throw new StoreUnavailableError(
        `this host's session can't be written down: ${diskProblem(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  async #renew(session: Session): Promise<void> {
    const { store, clock, reports } = this.#options;
    const closing = this.#closing.signal;
    let pauseMs = session.ttlMs / 3;
    for (;;) {
      await clock.sleep(pauseMs, closing);
      if (closing.aborted || session.isGone) return;
      const sentAt = clock.now();
      try {
        const { ttlMs } = await store.renewSession(session.id);
        if (session.isGone) return; // Dropped meanwhile.
        pauseMs = ttlMs / 3;
        if (session.renewed(sentAt, ttlMs)) log('revived session=%s', session.id);
        reports.renewal('renewed', sentAt);
        this.#options.onSessionHeard();
      } catch (error) {
        reports.renewal(error instanceof SessionGoneError ? 'gone' : 'failed', sentAt);
        if (error instanceof SessionGoneError) return this.ended(session);
        log('renewal failed session=%s: %s', session.id, messageOf(error));
        session.complaint = messageOf(error);
        pauseMs = Math.min(session.ttlMs / 10, 1_000);
      }
    }
  }

  async #watchDeadline(session: Session): Promise<void> {
    const { clock } = this.#options;
    const closing = this.#closing.signal;
    while (!closing.aborted && !session.isGone) {
      session.checkDeadline();
      const leftMs = session.isLapsed ? session.ttlMs / 10 : session.deadline - clock.now();
      await clock.sleep(Math.max(leftMs, 10), closing);
    }
  }
}

/** One session; see SessionKeeper for its life. */
export class Session {
  readonly id: string;
  /** It was opened by an earlier process: tickets of that process may hang on it. */
  readonly resumed: boolean;
  /** Why it could not be renewed when that was tried last and failed. */
  complaint = 'no answer';
  readonly #clock: Clock;
  #ttlMs: number;
  #deadline: number;
  #period = new AbortController();
  #isGone = false;
  /** Told, in place of a listener on the signal each, because locks come and go by the thousand. */
  readonly #holders = new Set<(reason: LockLostError) => void>();

  constructor(id: string, resumed: boolean, clock: Clock, sentAt: number, ttlMs: number) {
    this.id = id;
    this.resumed = resumed;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
    this.#deadline = sentAt + ttlMs - marginMs(ttlMs);
  }

  get ttlMs(): number {
    return this.#ttlMs;
  }

  /** By the engine's clock: until then no other host can have been given our locks. */
  get deadline(): number {
    return this.#deadline;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isLapsed(): boolean {
    return this.#period.signal.aborted;
  }

  /** Aborts with a LockLostError when the session lapses or is gone. */
  get sessionPeriod(): AbortSignal {
    return this.#period.signal;
  }

  /** Calls `onEnd` when this tenure ends, unless it is removed before. */
  addHolder(onEnd: (reason: LockLostError) => void): void {
    this.#holders.add(onEnd);
  }

  removeHolder(onEnd: (reason: LockLostError) => void): void {
    this.#holders.delete(onEnd);
  }

  /** Throws when the session has lapsed. Looks at the clock itself: timers can be late. */
  throwIfLapsed(): void {
    this.checkDeadline();
    this.#period.signal.throwIfAborted();
  }

  checkDeadline(): void {
    if (this.isLapsed || this.#clock.now() < this.#deadline) return;
    this.#endTenure('the store could not be reached in time to prove that the lock is held');
  }

  /** A renewal sent at `sentAt` has succeeded. True when this ended a lapse. */
  renewed(sentAt: number, ttlMs: number): boolean {
    this.checkDeadline();
    this.#ttlMs = ttlMs;
    this.#deadline = Math.max(this.#deadline, sentAt + ttlMs - marginMs(ttlMs));
    if (!this.isLapsed || this.#clock.now() >= this.#deadline) return false;
    this.#period = new AbortController();
    return true;
  }

  gone(): void {
    this.#isGone = true;
    if (this.isLapsed) return;
    this.#endTenure('the store ended the session of this host');
  }

  #endTenure(why: string): void {
    const reason = new LockLostError(why);
    for (const onEnd of [...this.#holders]) onEnd(reason);
    this.#holders.clear();
    this.#period.abort(reason);
  }
}

/** What is left for clocks that run at different rates, and for stopping work at the deadline. */
function marginMs(ttlMs: number): number {
  return ttlMs === Number.POSITIVE_INFINITY ? 0 : Math.min(2_000, ttlMs / 5);
}
