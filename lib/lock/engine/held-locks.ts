import createDebug from 'debug';
import type { Clock } from '../../running/clock.ts';
import { GuardLostError, StoreRefusedError, StoreUnavailableError } from '../errors.ts';
import type { Lock } from '../lock.ts';
import type { Committed, RecordWrite, TicketStore } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';
import { namesOf } from '../ticket.ts';
import type { Grant, HeldLockOwner } from './held-lock.ts';
import { HeldLock } from './held-lock.ts';
import type { OwnTickets } from './own-tickets.ts';
import type { Reports } from './reports.ts';
import type { Session } from './session.ts';
import { marginMs } from './session.ts';
import type { StoreMirror } from './store-mirror.ts';
import { WaitLimit } from './wait-limit.ts';

const log = createDebug('berth:lock');

/** How long a guarded write is retried while the store does not answer. */
const commitPatienceMs = 10_000;

export interface HeldLocksOptions {
  readonly store: TicketStore;
  readonly clock: Clock;
  readonly mirror: StoreMirror;
  readonly tickets: OwnTickets;
  readonly reports: Reports;
  readonly closing: AbortSignal;
}

/** The locks that this process holds, from the grant to the unlock or the loss. */
export class HeldLocks {
  readonly #options: HeldLocksOptions;
  readonly #locks = new Map<string, HeldLock>();
  readonly #owner: HeldLockOwner;
  /** The locks that `attach` may take back after a lapse. */
  readonly #kept = new WeakSet<Lock>();

  constructor(options: HeldLocksOptions) {
    this.#options = options;
    const { clock, store, tickets, reports } = options;
    this.#owner = {
      now: () => clock.now(),
      release: (ticket, { claim, note }) =>
        reports.unlock(ticket, () => tickets.remove(ticket, claim, note)),
      stillStands: (ticket) => store.stands(ticket),
      commit: (ticket, writes, release) => this.#commit(ticket, writes, release),
      ended: (lock, isLost) => {
        if (this.#locks.get(lock.ticket.nonce) === lock) this.#locks.delete(lock.ticket.nonce);
        reports.ended(lock.ticket, isLost, lock.heldAt);
      },
      lapsed: (lock, session) => void this.#removeLapsed(lock, session),
    };
    options.mirror.listen((event) => {
      if (event.kind === 'change') {
        for (const { nonce } of event.change.removedTickets) this.#noticeLoss(nonce);
      } else if (event.kind !== 'interrupted') {
        for (const nonce of [...this.#locks.keys()]) this.#noticeLoss(nonce);
      }
    });
  }

  /**
   * Returns the lock of a granted ticket. If the ticket has been removed since, the lock is already
   * lost. Throws LockLostError when its session has lapsed.
   */
  hold(grant: Grant, session: Session, maxHoldMs = Number.POSITIVE_INFINITY): Lock {
    const { clock, tickets } = this.#options;
    const { ticket } = grant;
    const known = this.#locks.get(ticket.nonce);
    if (known) return known;
    const lock = new HeldLock(grant, session, this.#owner, maxHoldMs);
    tickets.add(ticket);
    this.#locks.set(ticket.nonce, lock);
    // Also after a loss, because the holder may never unlock it.
    if (maxHoldMs !== Number.POSITIVE_INFINITY) {
      void clock.sleep(maxHoldMs, lock.signal).then(() => lock.end());
    }
    this.#noticeLoss(ticket.nonce);
    log('granted %s token=%d', namesOf(ticket.locks).join('+'), ticket.token);
    return lock;
  }

  /** Leaves the ticket of this lock in the store through a lapse, until the lock is unlocked. */
  keepThroughLapse(lock: Lock): void {
    this.#kept.add(lock);
  }

  async unlockAll(): Promise<void> {
    await Promise.all([...this.#locks.values()].map((lock) => lock.unlock()));
  }

  async #commit(
    ticket: Ticket,
    writes: readonly RecordWrite[],
    release: boolean,
  ): Promise<Committed> {
    const { store, clock, mirror, tickets } = this.#options;
    const lock = this.#locks.get(ticket.nonce);
    using limit = new WaitLimit(clock, lock ? [lock.signal] : [], commitPatienceMs);
    let calls = 0;
    const commit = () => {
      calls += 1;
      return store.commit({ guards: [ticket], writes, release: release ? [ticket] : [] });
    };
    const committed = await limit.untilAnswered(commit).catch((error) => {
      const isRefusal = error instanceof GuardLostError || error instanceof StoreRefusedError;
      if (!isRefusal || calls === 1) throw error;
      // An earlier call may have made the change, and the next holder may have written since.
      throw new StoreUnavailableError('it is unknown whether the store made the change', {
        cause: error,
      });
    });
    mirror.wrote(committed.revision, writes);
    if (release) tickets.forget(ticket);
    return committed;
  }

  /**
   * Removes the ticket of a lock that lapsed, because a holder that knows of the loss need not unlock it.
   * Not before the TTL would have passed without a further renewal: so long the holder may take to stop.
   */
  async #removeLapsed(lock: HeldLock, session: Session): Promise<void> {
    const { clock, tickets, closing } = this.#options;
    const { ticket } = lock;
    await clock.sleep(marginMs(session.ttlMs), closing);
    if (closing.aborted || lock.isReleased || this.#kept.has(lock)) return;
    if (this.#locks.has(ticket.nonce)) return; // It was attached again.
    if (session.isGone) tickets.forget(ticket);
    else await tickets.remove(ticket);
  }

  /** Tells the holder if the mirror no longer has its ticket. */
  #noticeLoss(nonce: string): void {
    const { mirror, tickets } = this.#options;
    const lock = this.#locks.get(nonce);
    // A lock that is younger than the mirror. (After a change of history no earlier lock is held.)
    if (!lock || lock.token > mirror.revision) return;
    // With another token it is a late repeat of the request, not the granted ticket.
    if (mirror.ticket(nonce)?.token === lock.token) return;
    lock.miss();
    // Its holder need not unlock it. If its ticket stands again, because the store is put back, it is a stray.
    if (!this.#locks.has(nonce) && !this.#kept.has(lock)) tickets.forget(lock.ticket);
  }
}
