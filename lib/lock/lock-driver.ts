import createDebug from 'debug';
import { LockClearRefusedError } from './errors.ts';
import { KeptLock } from './kept-lock.ts';
import type { Lock } from './lock.ts';
import type { LockManager } from './lock-manager.ts';
import type { ClearRequest, KeepOptions, LockService, UseLockOptions } from './lock-service.ts';
import type { LockOptions } from './locks.ts';
import type { Ticket } from './ticket.ts';
import type { UseLocker } from './use.ts';
import { lockName, lockRequest, parseLockName } from './use.ts';

const log = createDebug('berth:lock');

/** The locks of volumes, on a LockManager. */
export class LockDriver implements LockService {
  readonly #manager: LockManager;
  readonly #timeoutMs: number;

  /** `timeoutMs`: how long a request waits when it does not say. */
  constructor(manager: LockManager, timeoutMs: number) {
    this.#manager = manager;
    this.#timeoutMs = timeoutMs;
  }

  executeWithUseLock<T>(
    use: UseLocker,
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T> {
    return this.executeWithMultiUseLock([use], options, work);
  }

  executeWithMultiUseLock<T>(
    uses: readonly UseLocker[],
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T> {
    return this.#manager.withLock(uses.map(lockRequest), this.#options(uses, options), work);
  }

  async acquireWithTTLRefresh(use: UseLocker, options: KeepOptions): Promise<KeptLock> {
    const lock = await this.#manager.lock([lockRequest(use)], this.#options([use], options));
    return new KeptLock(lock, this.#manager, options.onChange);
  }

  async resume(ticket: Ticket, onChange: KeepOptions['onChange']): Promise<KeptLock | undefined> {
    const lock = await this.#manager.attach(ticket);
    return lock && new KeptLock(lock, this.#manager, onChange);
  }

  async clearLock({ volume, token, force }: ClearRequest): Promise<Ticket> {
    const mount = await this.#manager.inspect(lockName('mount', volume));
    const snapshot = await this.#manager.inspect(lockName('snapshot', volume));
    const tickets = new Map([...mount, ...snapshot].map((ticket) => [ticket.token, ticket]));
    const ticket = tickets.get(token);
    if (!ticket) throw LockClearRefusedError.notThere(volume, token, [...tickets.values()]);
    if (!force && (await this.#manager.isAlive(ticket))) {
      throw LockClearRefusedError.holderIsAlive(volume, ticket);
    }
    await this.#manager.breakLock(ticket);
    log('cleared volume=%s token=%d host=%s reason=Maintenance', volume, token, ticket.holder.host);
    return ticket;
  }

  tickets(volume?: string): readonly Ticket[] {
    return this.#manager.mirror.tickets().filter(({ locks }) =>
      locks.some(({ name }) => {
        const parsed = parseLockName(name);
        return parsed !== undefined && (volume === undefined || parsed.volume === volume);
      }),
    );
  }

  #options(uses: readonly UseLocker[], options: UseLockOptions): LockOptions {
    const [first] = uses;
    if (!first) throw new RangeError('a use lock needs at least one use');
    return {
      reason: first.reason,
      signal: options.signal,
      timeoutMs: options.timeoutMs ?? this.#timeoutMs,
      ...(options.detail === undefined ? {} : { detail: options.detail }),
      ...(options.onWait ? { onWait: options.onWait } : {}),
    };
  }
}
