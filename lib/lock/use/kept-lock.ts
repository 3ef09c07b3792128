import createDebug from 'debug';
import { HistoryChangedError } from '../errors.ts';
import type { HistoryChange } from '../history.ts';
import type { Lock, Unlocking } from '../lock.ts';
import { isPermanent } from '../permanent-session.ts';
import type { ReadRecord, RecordWrite } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';

const log = createDebug('berth:lock');

/**
 * - `held`: this host can prove that it holds the lock.
 * - `unproven`: the session has lapsed, so the store may have granted the lock to another. The next
 *   renewal decides.
 * - `lost`: the ticket is gone. Another may hold the lock.
 * - `released`: this process has unlocked it.
 */
export type KeptLockState = 'held' | 'unproven' | 'lost' | 'released';

/** The part of the manager that a kept lock calls. */
export interface KeptLockOwner {
  attach(ticket: Ticket): Promise<Lock | undefined>;
  /** Lets `attach` take the lock back after a lapse. */
  keepThroughLapse(lock: Lock): void;
  onSessionHeard(listener: () => void): Disposable;
  /** Calls `listener` when this host's session lapses, or at once if it already has. */
  onLapsed(listener: (reason?: unknown) => void): Disposable;
  /** Calls `listener` when the store has another history, after the session has lapsed by it. */
  onHistoryChanged(listener: (change: HistoryChange) => void): Disposable;
  /** The ID of the store's history. */
  readonly historyId?: string | undefined;
}

/**
 * A lock for work that survives a lapse of the session, such as a mount. After a lapse, the next
 * renewal decides: the lock is taken back if its ticket still stands, else it is lost. A permanent
 * lock becomes `unproven` with the session too: an operator may have cleared it meanwhile.
 *
 * When the store has another history, a lock that was held until then is unproven, and has a *proof*:
 * if its ticket is missing there, it can be put back. A lock that was unproven already is lost: in the
 * past that is gone, another host may have had it, although its ticket may stand again.
 */
export class KeptLock {
  readonly ticket: Ticket;
  /** The record that `KeepOptions.read` names, as of the grant. */
  readonly read: ReadRecord | undefined;
  readonly #owner: KeptLockOwner;
  readonly #onChange: (state: KeptLockState) => void;
  readonly #listening: readonly Disposable[];
  #lock: Lock;
  #state: KeptLockState = 'held';
  #lapsed: Disposable | undefined;
  #proof: number | undefined;

  constructor(lock: Lock, owner: KeptLockOwner, onChange: (state: KeptLockState) => void) {
    this.ticket = lock.ticket;
    this.read = lock.read;
    this.#lock = lock;
    this.#owner = owner;
    this.#onChange = onChange;
    this.#listening = [
      owner.onSessionHeard(() => void this.#settle()),
      owner.onHistoryChanged((change) => this.#onHistoryChanged(change)),
    ];
    this.#hold(lock);
  }

  get token(): number {
    return this.ticket.token;
  }

  get state(): KeptLockState {
    if (this.#state !== 'held') return this.#state;
    try {
      this.#lock.throwIfLost();
    } catch {
      // The abort has just changed the state.
    }
    return this.#state;
  }

  /**
   * The number of the change of history until which the lock was held, if it has not been proved in
   * the new history: a request with this proof puts the lock back.
   */
  get proof(): number | undefined {
    return this.#proof;
  }

  /** The ID of the history in which the lock is proved now; undefined if the store keeps none. */
  get historyId(): string | undefined {
    return this.#owner.historyId;
  }

  /** Aborts when the lock can't be proved any more; a lock that is taken back has another signal. */
  get signal(): AbortSignal {
    return this.#lock.signal;
  }

  /** Asks the store as `Lock.confirm` does. */
  confirm(): Promise<void> {
    return this.#lock.confirm();
  }

  /** Changes records as `Lock.guard` does. */
  guard(writes: readonly RecordWrite[]): Promise<void> {
    return this.#lock.guard(writes);
  }

  /** Releases the lock; retries in the background while the store is away. As `Lock.unlock`. */
  async unlock(end?: Unlocking): Promise<void> {
    if (this.#state !== 'released') this.#change('released');
    this.#endListening();
    await this.#lock.unlock(end);
  }

  #hold(lock: Lock): void {
    this.#lock = lock;
    this.#owner.keepThroughLapse(lock);
    // The same function each time, because `attach` may return the lock that was held before.
    if (lock.signal.aborted) this.#onLoss();
    else lock.signal.addEventListener('abort', this.#onLoss, { once: true });
    if (!isPermanent(this.ticket.session)) return;
    this.#lapsed?.[Symbol.dispose]();
    this.#lapsed = this.#owner.onLapsed((reason) => {
      // An answer now could be out of date by the next renewal, which asks again.
      if (this.#state === 'held') this.#unproven(reason);
    });
  }

  #onLoss = () => {
    if (this.#state !== 'held') return;
    this.#unproven(this.#lock.signal.reason);
    void this.#settle();
  };

  #unproven(reason: unknown): void {
    if (reason instanceof HistoryChangedError) this.#proof = reason.change.number;
    this.#change('unproven');
  }

  #onHistoryChanged({ number }: HistoryChange): void {
    if (this.#state === 'unproven' && this.#proof !== number) {
      this.#proof = undefined;
      void this.#settled(undefined);
    }
  }

  #endListening(): void {
    for (const listening of this.#listening) listening[Symbol.dispose]();
    this.#lapsed?.[Symbol.dispose]();
  }

  /** Asks the store whether the ticket still stands, and takes the lock back if so. */
  async #settle(): Promise<void> {
    if (this.#state !== 'unproven') return;
    try {
      await this.#settled(await this.#owner.attach(this.ticket));
    } catch (error) {
      log('no answer yet whether the ticket with token %d stands: %s', this.token, error);
    }
  }

  async #settled(lock: Lock | undefined): Promise<void> {
    if (this.#state === 'released') await lock?.unlock();
    if (this.#state !== 'unproven') return;
    if (lock) {
      this.#proof = undefined;
      this.#change('held');
      this.#hold(lock);
    } else {
      this.#change('lost');
      this.#endListening();
      await this.#lock.unlock(); // Forgets the ticket in this process.
    }
  }

  #change(state: KeptLockState): void {
    this.#state = state;
    log('token %d is %s', this.token, state);
    this.#onChange(state);
  }
}
