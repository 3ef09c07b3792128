import createDebug from 'debug';
import type { Clock } from '../../running/clock.ts';
import { diskProblem } from '../../running/disk-problem.ts';
import { messageOf } from '../../running/message-of.ts';
import type { HistoryChangedError } from '../errors.ts';
import { LockLostError, SessionGoneError, StoreUnavailableError } from '../errors.ts';
import { isPermanent } from '../permanent-session.ts';
import type { OpenSession, TicketStore } from '../stores/ticket-store.ts';
import type { Reports } from './reports.ts';

const log = createDebug('berth:session');

export interface SessionOptions {
  readonly store: TicketStore;
  readonly clock: Clock;
  /** How long the store keeps the tickets of a host that does not renew; Infinity: for ever. */
  readonly ttlMs: number;
  /** The host's identity. */
  readonly owner: string;
  /** Present when the session must survive a restart of this process. */
  readonly keep?: Keep;
  /** Called at each renewal of the session, and when the store has ended the session. */
  readonly onSessionHeard: () => void;
  readonly reports: Reports;
}

interface Keep {
  /** The session of the process before this one. */
  readonly resume: string | undefined;
  /** Called with the id of each new session, before the session is used. */
  readonly save: (id: string) => Promise<void>;
}

/**
 * Opens this process's session in the store when it is first needed, and renews it until closed.
 *
 * A session's **deadline** is the send time of the last successful renewal, plus the TTL granted,
 * less a margin: before the deadline the store can't have granted our locks to another host. At the
 * deadline the session *lapses*: each lock on the session is lost for its holder, although the
 * tickets may still stand. If a later renewal succeeds, a new *session period* begins: the tickets
 * stand, and `attach` takes their locks back. If the store has ended the session, it is *gone*. When
 * the store has another history, the session lapses at once, and a renewal in the new history decides.
 */
export class SessionKeeper {
  readonly #options: SessionOptions;
  readonly #closing = new AbortController();
  #opening: Promise<Session> | undefined;
  #current: Session | undefined;
  #resume: string | undefined;
  /** Aborts the pause before the next renewal. */
  #soon = new AbortController();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#resume = options.keep?.resume;
  }

  /** Returns the session; opens or resumes one if there is none. Rejects when the store is away. */
  async get(): Promise<Session> {
    this.#closing.signal.throwIfAborted();
    if (this.#current && !this.#current.isGone) return this.#current;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** The session that was opened last. */
  get current(): Session | undefined {
    return this.#current;
  }

  /** Records that the store has ended the session. */
  ended(session: Session): void {
    if (session.isGone) return;
    log('gone session=%s', session.id);
    session.gone();
    this.#options.onSessionHeard();
  }

  /** Ends the session period, because the store has another history, and renews at once. */
  historyChanged(reason: HistoryChangedError): void {
    this.#current?.historyChanged(reason);
    this.#soon.abort();
  }

  /** Closes the session. The store removes it now, or when its TTL has passed. */
  drop(): void {
    const session = this.#current;
    if (!session || session.isGone) return;
    log('dropped session=%s', session.id);
    this.ended(session);
    this.#options.store.closeSession(session.id).catch((error) => {
      log('session=%s was not closed, so it has to expire: %s', session.id, messageOf(error));
    });
  }

  /** Stops renewing. `keep`: leaves the session, with its tickets, to the next process. */
  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new LockLostError('berth is stopping'));
    const session = (await this.#opening?.catch(() => undefined)) ?? this.#current;
    if (!session) return;
    const { store } = this.#options;
    // A last renewal gives the next process a whole TTL to take the session over.
    const sentAt = this.#options.clock.now();
    const last = keep
      ? store.renewSession(session.id).then(({ ttlMs }) => session.renewed(sentAt, ttlMs))
      : store.closeSession(session.id);
    await last.catch((error) =>
      log('last renewal or close of session=%s failed: %s', session.id, error.message),
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
    const canBeResumed = keep !== undefined || isPermanent(opened.id);
    const session = new Session({ ...opened, canBeResumed }, clock, sentAt);
    log('%s session=%s ttl=%dms', opened.resumed ? 'resumed' : 'opened', opened.id, opened.ttlMs);
    this.#current = session;
    if (opened.ttlMs !== Number.POSITIVE_INFINITY) {
      void this.#renew(session);
      void this.#watchDeadline(session);
    }
    return session;
  }

  /** Saves a new session's id for the next process; closes the session if that fails. */
  async #save({ save }: Keep, { id, resumed }: OpenSession): Promise<void> {
    try {
      await save(id);
    } catch (error) {
      if (!resumed)
        await this.#options.store.closeSession(id).catch(() => {
          // The session has no tickets, and expires.
        });
      throw new StoreUnavailableError(
        `can't save the id of this host's session: ${diskProblem(error)}`,
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
      this.#soon = new AbortController();
      await clock.sleep(pauseMs, AbortSignal.any([closing, this.#soon.signal]));
      if (closing.aborted || session.isGone) return;
      const sentAt = clock.now();
      try {
        const { ttlMs } = await store.renewSession(session.id);
        if (session.isGone) return; // It was dropped during the renewal.
        pauseMs = ttlMs / 3;
        if (session.renewed(sentAt, ttlMs)) log('renewed after a lapse session=%s', session.id);
        // Sent before another history was noticed, it proves nothing: the next one does.
        if (session.isLapsed) pauseMs = Math.min(pauseMs, 100);
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

/** One session; `SessionKeeper` describes its states. */
export class Session {
  readonly id: string;
  /** An earlier process opened the session, and may have left tickets on it. */
  readonly resumed: boolean;
  /** Another process may take the session over while this one has it. */
  readonly canBeResumed: boolean;
  /** Why the last renewal failed. */
  complaint = 'no answer';
  readonly #clock: Clock;
  #ttlMs: number;
  #deadline: number;
  /** A renewal that was sent before proves nothing. */
  #provedFrom = Number.NEGATIVE_INFINITY;
  #period = new AbortController();
  #isGone = false;
  /** Called when the period ends. A listener on the signal per lock would cost more. */
  readonly #holders = new Set<(reason: LockLostError) => void>();

  constructor(
    { id, resumed, canBeResumed, ttlMs }: OpenSession & { readonly canBeResumed: boolean },
    clock: Clock,
    sentAt: number,
  ) {
    this.id = id;
    this.resumed = resumed;
    this.canBeResumed = canBeResumed;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
    this.#deadline = sentAt + ttlMs - marginMs(ttlMs);
  }

  get ttlMs(): number {
    return this.#ttlMs;
  }

  /** The deadline by the engine's clock: before it, no other host can have been granted our locks. */
  get deadline(): number {
    return this.#deadline;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isLapsed(): boolean {
    return this.#period.signal.aborted;
  }

  /** The current session period; aborts with a LockLostError when the session lapses or is gone. */
  get sessionPeriod(): AbortSignal {
    return this.#period.signal;
  }

  /** Calls `onEnd` when this session period ends, unless `removeHolder` was called before. */
  addHolder(onEnd: (reason: LockLostError) => void): void {
    this.#holders.add(onEnd);
  }

  removeHolder(onEnd: (reason: LockLostError) => void): void {
    this.#holders.delete(onEnd);
  }

  /** Throws when the session has lapsed. Reads the clock, because timers can be late. */
  throwIfLapsed(): void {
    this.checkDeadline();
    this.#period.signal.throwIfAborted();
  }

  /** Ends the session period if the deadline has passed. */
  checkDeadline(): void {
    if (this.isLapsed || this.#clock.now() < this.#deadline) return;
    this.#endPeriod('the store could not be reached in time to prove that the lock is held');
  }

  /** Records a successful renewal that was sent at `sentAt`. Returns true if it ended a lapse. */
  renewed(sentAt: number, ttlMs: number): boolean {
    this.checkDeadline();
    if (sentAt < this.#provedFrom) return false;
    this.#ttlMs = ttlMs;
    this.#deadline = Math.max(this.#deadline, sentAt + ttlMs - marginMs(ttlMs));
    if (!this.isLapsed || this.#clock.now() >= this.#deadline) return false;
    this.#period = new AbortController();
    return true;
  }

  /** Ends the session period: only a renewal in the store's new history begins another. */
  historyChanged(reason: HistoryChangedError): void {
    this.checkDeadline();
    if (this.#ttlMs === Number.POSITIVE_INFINITY) return;
    this.#provedFrom = this.#clock.now();
    this.#deadline = this.#provedFrom;
    if (!this.isLapsed) this.#end(reason);
  }

  gone(): void {
    this.#isGone = true;
    if (this.isLapsed) return;
    this.#endPeriod('the store ended the session of this host');
  }

  #endPeriod(why: string): void {
    this.#end(new LockLostError(why));
  }

  #end(reason: LockLostError): void {
    for (const onEnd of [...this.#holders]) onEnd(reason);
    this.#holders.clear();
    this.#period.abort(reason);
  }
}

/**
 * Returns the milliseconds from a deadline to the earliest end of the TTL. They cover clocks that run
 * at different rates, and the time to stop work.
 */
export function marginMs(ttlMs: number): number {
  return ttlMs === Number.POSITIVE_INFINITY ? 0 : Math.min(2_000, ttlMs / 5);
}
