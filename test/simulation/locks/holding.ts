import { LockError, LockLostError, StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { Lock } from '../../../lib/lock/lock.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import { KeptLock } from '../../../lib/lock/use/kept-lock.ts';
import type { Scheduler } from '../scheduler.ts';
import type { LockCommand } from './commands.ts';
import type { Happening } from './history.ts';
import type { Daemon } from './simulated-host.ts';

export interface HoldingOptions {
  readonly name: string;
  readonly request: string;
  readonly lock: Lock;
  readonly daemon: Daemon;
  readonly disk: { readonly tickets: Map<string, Ticket> };
  readonly scheduler: Scheduler;
  readonly record: (happening: Happening) => void;
  readonly plan: HoldingPlan;
}

/** What becomes of a lock that is held. */
export type HoldingPlan = Pick<LockCommand, 'holdMs' | 'writes' | 'ending' | 'listens'>;

/** A lock in use on a host, and what its holder believes of it. */
export class Holding {
  readonly #options: HoldingOptions;
  #kept: KeptLock | undefined;
  #believes = false;
  #hasLeft = false;
  #isAbandoned = false;

  constructor(options: HoldingOptions) {
    this.#options = options;
    options.disk.tickets.set(options.request, options.lock.ticket);
    this.#tell(true);
  }

  /** It learns of its loss unasked. */
  get listens(): boolean {
    const { listens, ending } = this.#options.plan;
    return listens || ending === 'kept';
  }

  /** From the grant to the unlock. */
  async live(): Promise<void> {
    const { lock, daemon, disk, request, plan } = this.#options;
    const { holdMs, writes, ending, listens } = plan;
    if (ending === 'kept') this.#keep();
    else if (listens) this.#listen();
    const isExclusive = lock.ticket.locks.some(({ mode }) => mode === 'exclusive');
    const count = isExclusive ? writes : 0;
    for (let n = 1; n <= count; n += 1) {
      await this.#sleep(holdMs / (count + 1));
      if (!this.look()) break;
      const unlock = ending === 'commit' && n === count;
      if (unlock) this.#leave();
      await this.#write(`${lock.token}.${n}`, unlock);
    }
    await this.#sleep(holdMs / (count + 1));
    if (this.#isAbandoned) return;
    this.look();
    this.#leave();
    await (this.#kept ?? lock).unlock();
    if (ending === 'unlock twice') await lock.unlock();
    if (daemon.party.state !== 'gone') disk.tickets.delete(request);
  }

  /** The daemon ends and leaves the lock to the next one. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#leave();
  }

  /** Asks whether it still holds; answers what it was told. */
  look(): boolean {
    if (this.#hasLeft) return false;
    const { request, name: host, record } = this.#options;
    const passes = this.#passes();
    record({ kind: 'looked', request, host, passes });
    if (!passes) this.#tell(false);
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
    if (signal.aborted) this.#tell(false);
    else signal.addEventListener('abort', () => this.#tell(false), { once: true });
  }

  #keep(): void {
    const { lock, daemon } = this.#options;
    this.#kept = new KeptLock(lock, daemon.manager, (state) => this.#tell(state === 'held'));
    if (this.#kept.state !== 'held') this.#tell(false);
  }

  #tell(holds: boolean): void {
    if (this.#hasLeft || this.#believes === holds) return;
    this.#believes = holds;
    const { request, name: host, lock, record } = this.#options;
    if (!holds) {
      record({ kind: 'told', request, host });
      return;
    }
    const { token, ticket } = lock;
    record({ kind: 'held', request, host, token, locks: ticket.locks, listens: this.listens });
  }

  #leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    const { request, name: host, record } = this.#options;
    record({ kind: 'left', request, host });
  }

  async #write(value: string, unlock: boolean): Promise<void> {
    const { lock, request, record } = this.#options;
    const key = lock.ticket.locks.find(({ mode }) => mode === 'exclusive')?.name ?? '';
    try {
      await lock.guard([{ key, value }], { unlock });
      record({ kind: 'write done', request, value });
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
      if (error instanceof StoreUnavailableError) return;
      record({ kind: 'write refused', request, value, code: error.code });
      this.look();
    }
  }

  #sleep(ms: number): Promise<void> {
    const { scheduler, daemon } = this.#options;
    return new Promise((resolve) => {
      scheduler.after(ms, daemon.party, 'timer', resolve);
    });
  }
}
