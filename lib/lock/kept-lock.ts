import createDebug from 'debug';
import type { Lock } from './lock.ts';
import type { Ticket } from './ticket.ts';

const log = createDebug('berth:lock');

/**
 * - `held`: proved to be ours.
 * - `unproven`: the store has not been heard for so long that it may have given the lock away, or
 *   not; told by it when it is back.
 * - `lost`: the ticket is gone. Somebody else may hold the lock.
 * - `released`: by us.
 */
export type KeptLockState = 'held' | 'unproven' | 'lost' | 'released';

/** What a kept lock asks of the manager. */
export interface KeptLockOwner {
  attach(ticket: Ticket): Promise<Lock | undefined>;
  onRevived(listener: () => void): Disposable;
  breakLock(ticket: Ticket): Promise<void>;
}

/**
 * A lock for work that outlives a lapse of the session, such as a mount: when the store is heard
 * again it is taken back if its ticket still stands, and given up if not.
 */
export class KeptLock {
  readonly ticket: Ticket;
  readonly #owner: KeptLockOwner;
  readonly #onChange: (state: KeptLockState) => void;
  readonly #revived: Disposable;
  #lock: Lock;
  #state: KeptLockState = 'held';

  constructor(lock: Lock, owner: KeptLockOwner, onChange: (state: KeptLockState) => void) {
    this.ticket = lock.ticket;
    this.#lock = lock;
    this.#owner = owner;
    this.#onChange = onChange;
    this.#revived = owner.onRevived(() => void this.#settle());
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
      // Told by the state, which has just changed with it.
    }
    return this.#state;
  }

  /** Releases the lock; gets there in the background when the store is away. Idempotent. */
  async unlock(): Promise<void> {
    if (this.#state === 'released') return;
    const wasHeld = this.#state === 'held';
    this.#change('released');
    this.#revived[Symbol.dispose]();
    if (wasHeld) await this.#lock.unlock();
    else await this.#owner.breakLock(this.ticket).catch((error) => log('release: %s', error));
  }

  #hold(lock: Lock): void {
    this.#lock = lock;
    const onLoss = () => {
      if (this.#state !== 'held') return;
      this.#change('unproven');
      void this.#settle();
    };
    if (lock.signal.aborted) onLoss();
    else lock.signal.addEventListener('abort', onLoss, { once: true });
  }

  /** Asks the store whether the ticket still stands. */
  async #settle(): Promise<void> {
    if (this.#state !== 'unproven') return;
    try {
      const lock = await this.#owner.attach(this.ticket);
      if (this.#state !== 'unproven') return;
      if (lock) {
        this.#change('held');
        this.#hold(lock);
      } else {
        this.#change('lost');
        this.#revived[Symbol.dispose]();
      }
    } catch (error) {
      log('the store can not say yet whether token %d stands: %s', this.token, error);
    }
  }

  #change(state: KeptLockState): void {
    this.#state = state;
    log('token %d is %s', this.token, state);
    this.#onChange(state);
  }
}
