import {
  LockContendedError,
  LockError,
  LockLostError,
  ProofExpiredError,
  StoreUnavailableError,
} from '../../../lib/lock/errors.ts';
import type { Lock } from '../../../lib/lock/lock.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import { KeptLock } from '../../../lib/lock/use/kept-lock.ts';
import type { Scheduler } from '../scheduler.ts';
import type { LockCommand } from './commands.ts';
import type { Happening } from './history.ts';
import type { RecordedStore } from './recorded-store.ts';
import type { Daemon } from './simulated-daemon.ts';

/** A ticket on a host's disk, with the history in which its lock was proved last. */
export interface KeptTicket {
  readonly ticket: Ticket;
  readonly historyId: string | undefined;
}

/** The part of a host's disk that its holders write. */
export interface HoldingDisk {
  readonly tickets: Map<string, KeptTicket>;
}

export interface HoldingOptions {
  readonly name: string;
  readonly request: string;
  readonly lock: Lock;
  readonly daemon: Daemon;
  readonly disk: HoldingDisk;
  readonly store: Pick<RecordedStore, 'numberOf'>;
  readonly scheduler: Scheduler;
  readonly record: (happening: Happening) => void;
  readonly plan: HoldingPlan;
}

/** The plan of a holder: how long it holds, what it writes, how it ends. */
export type HoldingPlan = Pick<LockCommand, 'holdMs' | 'writes' | 'ending' | 'listens'> &
  Partial<Pick<LockCommand, 'ttlMs'>>;

/** A granted lock on a host, and what its holder believes about it. */
export class Holding {
  readonly #options: HoldingOptions;
  #puttingBack: Promise<void> | undefined;
  #kept: KeptLock | undefined;
  /** The lock as it was granted last: it may have been put back. */
  #lock: Lock;
  #believes = false;
  #hasReleased = false;
  #isAbandoned = false;

  constructor(options: HoldingOptions) {
    this.#options = options;
    this.#lock = options.lock;
    this.#setBelief(true);
  }

  /** True when the holder learns of a loss without a check. */
  get listens(): boolean {
    const { listens, ending } = this.#options.plan;
    return listens || ending === 'kept';
  }

  /** Runs the plan, from the grant to the unlock. */
  async live(): Promise<void> {
    const { lock, daemon, disk, request, plan } = this.#options;
    const { holdMs, writes, ending, listens } = plan;
    if (ending === 'kept') this.#keep();
    else if (listens) this.#listen();
    const isExclusive = lock.ticket.locks.some(({ mode }) => mode === 'exclusive');
    const count = isExclusive ? writes : 0;
    for (let n = 1; n <= count; n += 1) {
      await this.#sleep(holdMs / (count + 1));
      if (!this.check()) break;
      const unlock = ending === 'commit' && n === count;
      if (unlock) this.#release();
      const number = this.#options.store.numberOf(this.#lock.ticket);
      // Unique to this write, also when a later daemon goes on with the lock.
      await this.#write(`${number}.${daemon.party.name}.${n}`, unlock);
    }
    await this.#sleep(holdMs / (count + 1));
    if (this.#isAbandoned) return;
    const holds = this.check();
    this.#release();
    if (holds || ending !== 'forget') await (this.#kept ?? lock).unlock();
    await this.#puttingBack;
    if (ending === 'unlock twice') await lock.unlock();
    if (daemon.party.state !== 'gone') disk.tickets.delete(request);
  }

  /** Leaves the lock to the next daemon. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#release();
  }

  /** Checks whether the lock is still held, and records the answer. */
  check(): boolean {
    if (this.#hasReleased) return false;
    const { request, name: host, record } = this.#options;
    const passes = this.#passes();
    record({ kind: 'checked', request, host, passes });
    if (!passes) this.#setBelief(false);
    return passes;
  }

  #passes(): boolean {
    if (this.#kept) return this.#kept.state === 'held';
    try {
      this.#options.lock.throwIfLost();
      return true;
    } catch (error) {
      if (!(error instanceof LockLostError)) throw error;
      return false;
    }
  }

  #listen(): void {
    const { signal } = this.#options.lock;
    if (signal.aborted) this.#setBelief(false);
    else signal.addEventListener('abort', () => this.#setBelief(false), { once: true });
  }

  #keep(): void {
    const { daemon } = this.#options;
    const kept: KeptLock = new KeptLock(this.#lock, daemon.manager, (state) => {
      this.#setBelief(state === 'held');
      if (state === 'lost' && kept.proof !== undefined) {
        this.#puttingBack = this.#putBack(kept.proof);
      }
    });
    this.#kept = kept;
    if (kept.state !== 'held') this.#setBelief(false);
  }

  /** Takes the lock again that this host held until the store was put back, as a mount does. */
  async #putBack(proof: number): Promise<void> {
    const { lock, daemon, request, plan } = this.#options;
    while (!this.#hasReleased && daemon.party.state !== 'gone') {
      try {
        const again = await daemon.manager.lock(lock.ticket.locks, {
          ...{ reason: 'Mount', detail: request, timeoutMs: 0, proof },
          ...(plan.ttlMs !== undefined && { ttlMs: plan.ttlMs }),
        });
        if (this.#hasReleased) return await again.unlock();
        this.#lock = again;
        this.#setBelief(true);
        return this.#keep();
      } catch (error) {
        if (error instanceof ProofExpiredError || !(error instanceof LockError)) return;
        const isBlocked = error instanceof LockContendedError;
        await this.#sleep(isBlocked ? 200 : 50);
      }
    }
  }

  #setBelief(holds: boolean): void {
    if (this.#hasReleased || this.#believes === holds) return;
    this.#believes = holds;
    const { request, name: host, daemon, disk, store, record } = this.#options;
    if (!holds) {
      record({ kind: 'notified', request, host });
      return;
    }
    const { ticket } = this.#lock;
    disk.tickets.set(request, { ticket, historyId: daemon.manager.historyId });
    const token = store.numberOf(ticket);
    record({ kind: 'held', request, host, token, locks: ticket.locks, listens: this.listens });
  }

  #release(): void {
    if (this.#hasReleased) return;
    this.#hasReleased = true;
    const { request, name: host, record } = this.#options;
    record({ kind: 'released', request, host });
  }

  async #write(value: string, unlock: boolean): Promise<void> {
    const { request, record } = this.#options;
    const lock = this.#kept ?? this.#lock;
    const key = lock.ticket.locks.find(({ mode }) => mode === 'exclusive')?.name ?? '';
    try {
      await lock.guard([{ key, value }], { unlock });
      record({ kind: 'write done', request, value });
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
      if (error instanceof StoreUnavailableError) return;
      record({ kind: 'write refused', request, value, code: error.code });
      this.check();
    }
  }

  #sleep(ms: number): Promise<void> {
    const { scheduler, daemon } = this.#options;
    return new Promise((resolve) => {
      scheduler.after(ms, daemon.party, 'timer', resolve);
    });
  }
}
