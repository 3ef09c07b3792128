import { GuardLostError, HistoryChangedError, LockLostError } from '../errors.ts';
import type { Lock, Unlocking } from '../lock.ts';
import type { Committed, Granted, ReadRecord, RecordWrite } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';
import { checkWrites } from './check-request.ts';
import type { Session } from './session.ts';

/** A granted ticket, with the record that the request reads. */
export type Grant = Pick<Granted, 'ticket' | 'read'>;

/** The part of the manager that a held lock calls. */
export interface HeldLockOwner {
  /** Removes the ticket; retries in the background while the store is away. */
  release(ticket: Ticket, end: Unlocking): Promise<void>;
  /** Asks the store whether the ticket still stands. */
  stillStands(ticket: Ticket): Promise<boolean>;
  commit(ticket: Ticket, writes: readonly RecordWrite[], release: boolean): Promise<Committed>;
  /** Records that the lock is not held any more. */
  ended(lock: HeldLock, isLost: boolean): void;
  /** Records that the lock was lost although its ticket may stand, because its session period has ended. */
  lapsed(lock: HeldLock, session: Session): void;
  now(): number;
}

/** A shared instance: an Error per unlock would capture a stack for nothing. */
const released = new LockLostError('the lock was released');

/** A granted lock, as its holder uses it. */
export class HeldLock implements Lock {
  readonly ticket: Ticket;
  readonly read: ReadRecord | undefined;
  readonly #session: Session;
  readonly #owner: HeldLockOwner;
  /** Created when the signal is first read: most holders never read it. */
  #ended: AbortController | undefined;
  /** Why the lock is no longer held. */
  #reason: LockLostError | undefined;
  #released: Promise<void> | undefined;
  /** True during a guarded write that also releases: the missing ticket is then no loss. */
  #isReleasing = false;
  /** The mirror has seen the store without the ticket. */
  #isMissing = false;
  /** The time of the grant, by the owner's clock. */
  readonly heldAt: number;
  readonly #endsAt: number;

  constructor({ ticket, read }: Grant, session: Session, owner: HeldLockOwner, maxHoldMs: number) {
    this.ticket = ticket;
    this.read = read;
    this.heldAt = owner.now();
    this.#endsAt = this.heldAt + maxHoldMs;
    this.#session = session;
    this.#owner = owner;
    session.throwIfLapsed();
    session.addHolder(this.#onPeriodEnd);
  }

  get isReleased(): boolean {
    return this.#released !== undefined;
  }

  get token(): number {
    return this.ticket.token;
  }

  get signal(): AbortSignal {
    if (!this.#ended) {
      this.#ended = new AbortController();
      if (this.#reason) this.#ended.abort(this.#reason);
    }
    return this.#ended.signal;
  }

  get leftMs(): number {
    if (this.#reason) return 0;
    return Math.max(0, Math.min(this.#session.deadline, this.#endsAt) - this.#owner.now());
  }

  throwIfLost(): void {
    this.#session.checkDeadline();
    if (this.#owner.now() >= this.#endsAt) this.end();
    if (this.#reason) throw this.#reason;
  }

  async confirm(): Promise<void> {
    this.throwIfLost();
    if (!(await this.#owner.stillStands(this.ticket))) this.lose('its ticket is gone');
    this.throwIfLost();
  }

  async guard(writes: readonly RecordWrite[], options: { unlock?: boolean } = {}): Promise<void> {
    checkWrites(writes, options);
    this.throwIfLost();
    const unlock = options.unlock ?? false;
    this.#isReleasing ||= unlock;
    try {
      await this.#owner.commit(this.ticket, writes, unlock);
    } catch (error) {
      if (unlock) this.#isReleasing = false;
      const isLost = error instanceof GuardLostError;
      const isGone = isLost || (error instanceof Error && error.cause instanceof GuardLostError);
      if (isGone || this.#isMissing) this.lose('its ticket is gone');
      if (isLost && this.#reason) throw this.#reason;
      throw error;
    }
    if (unlock) {
      this.#released ??= Promise.resolve();
      this.#end(released);
    }
  }

  unlock(end: Unlocking = {}): Promise<void> {
    this.#released ??= this.#release(end);
    return this.#released;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unlock();
  }

  /** Records that the mirror has seen the store without the ticket. */
  miss(): void {
    this.#isMissing = true;
    if (this.#isReleasing) return;
    this.lose('its ticket was removed, by an operator or because the store ended the session');
  }

  /** Ends the lock with a LockLostError: the ticket is gone, or can't be proved to stand. */
  lose(why: string): void {
    this.#end(new LockLostError(`lost the lock on ${this.#names()}: ${why}`));
  }

  /** Ends the lock after its longest hold, and releases it even if it was lost before. */
  end(): void {
    this.lose('its longest hold has passed');
    void this.unlock();
  }

  async #release(end: Unlocking): Promise<void> {
    this.#end(released);
    await this.#owner.release(this.ticket, end);
  }

  #end(reason: LockLostError): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#session.removeHolder(this.#onPeriodEnd);
    this.#owner.ended(this, reason !== released);
    this.#ended?.abort(reason);
  }

  #onPeriodEnd = (reason: LockLostError) => {
    if (reason instanceof HistoryChangedError) this.#end(reason);
    else this.lose(reason.message);
    this.#owner.lapsed(this, this.#session);
  };

  #names(): string {
    return this.ticket.locks.map(({ name }) => name).join(' + ');
  }
}
