import createDebug from 'debug';
import type { Lock } from '../lock.ts';
import { isPermanent } from '../permanent-session.ts';
import type { ReadRecord } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';

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
  onSessionHeard(listener: () => void): Disposable;
  /**
   * Calls back when this host's session lapses, at once when it has; until disposed.
   */
  onLapsed(listener: () => void): Disposable;
}

/**
 * A lock for work that outlives a lapse of the session, such as a mount: when the store is heard
 * again it is taken back if its ticket still stands, and given up if not. One that outlives its host
 * lapses with the session, too: an operator may have cleared it meanwhile.
 */
export class KeptLock {
  readonly ticket: Ticket;
  /** The record that the options asked to read, as of the grant. */
  readonly read: ReadRecord | undefined;
  readonly #owner: KeptLockOwner;
  readonly #onChange: (state: KeptLockState) => void;
  readonly #heard: Disposable;
  #lock: Lock;
  #state: KeptLockState = 'held';
  #lapsed: Disposable | undefined;

  constructor(lock: Lock, owner: KeptLockOwner, onChange: (state: KeptLockState) => void) {
    this.ticket = lock.ticket;
    this.read = lock.read;
    this.#lock = lock;
    this.#owner = owner;
    this.#onChange = onChange;
    this.#heard = owner.onSessionHeard(() => void this.#settle());
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
    if (this.#state !== 'released') this.#change('released');
    this.#heard[Symbol.dispose]();
    this.#lapsed?.[Symbol.dispose]();
    await this.#lock.unlock();
  }

  #hold(lock: Lock): void {
    this.#lock = lock;
    // The same function each time: a lock that is taken back may be the one that was held before.
    if (lock.signal.aborted) this.#onLoss();
    else lock.signal.addEventListener('abort', this.#onLoss, { once: true });
    if (!isPermanent(this.ticket.session)) return;
    this.#lapsed?.[Symbol.dispose]();
    this.#lapsed = this.#owner.onLapsed(() => {
      // What is heard before the session is can be out of date again: it is asked then.
      if (this.#state === 'held') this.#change('unproven');
    });
  }

  #onLoss = () => {
    if (this.#state !== 'held') return;
    this.#change('unproven');
    void this.#settle();
  };

  /** Asks the store whether the ticket still stands. */
  async #settle(): Promise<void> {
    if (this.#state !== 'unproven') return;
    try {
      await this.#settled(await this.#owner.attach(this.ticket));
    } catch (error) {
      log('the store can not say yet whether token %d stands: %s', this.token, error);
    }
  }

  async #settled(lock: Lock | undefined): Promise<void> {
    if (this.#state === 'released') await lock?.unlock();
    if (this.#state !== 'unproven') return;
    if (lock) {
      this.#change('held');
      this.#hold(lock);
    } else {
      this.#change('lost');
      this.#heard[Symbol.dispose]();
      this.#lapsed?.[Symbol.dispose]();
      await this.#lock.unlock(); // Frees what is remembered here of the ticket.
    }
  }

  #change(state: KeptLockState): void {
    this.#state = state;
    log('token %d is %s', this.token, state);
    this.#onChange(state);
  }
}
