import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Clock } from '../../../running/clock.ts';
import { systemClock } from '../../../running/clock.ts';
import { checkKind, checkOptions } from '../../check-options.ts';
import { checkLockOptions, checkTryOptions, checkWrites } from '../../engine/check-request.ts';
import { mergeRequests } from '../../engine/merge-requests.ts';
import { LockCancelledError, LockLostError, LockUnsupportedError } from '../../errors.ts';
import type { Lock } from '../../lock.ts';
import type { LockOptions, Locks, WorkUnderLock } from '../../locks.ts';
import type { RecordWrite } from '../../stores/ticket-store.ts';
import type { LockNames, Ticket } from '../../ticket.ts';

export interface NoopLocksOptions {
  /** The host's name, for people; the machine's when left out. */
  readonly host?: string;
  readonly clock?: Clock;
}

/**
 * Returns locks that exclude nobody: every request is granted at once, also while others hold the
 * same lock. A granted lock behaves like one (tokens grow; its signal aborts at the unlock, at a
 * break, and after `maxHoldMs`) and is listed, in this process only.
 *
 * Two operations reject LockUnsupportedError: disabling a lock, because it would be granted all the
 * same, and writing a record, because there is no store.
 */
export function noopLocks(options: NoopLocksOptions = {}): Locks {
  checkOptions('locks that exclude nobody', options, { host: 'a text', clock: 'an object' });
  const { host = hostname(), clock = systemClock() } = options;
  const held = new Map<string, NoopLock>();
  const closing = new AbortController();
  let token = 0;

  async function lock(requests: LockNames, options: LockOptions = {}): Promise<Lock> {
    checkLockOptions(options);
    const locks = mergeRequests(requests);
    const {
      kind = 'other',
      reason = 'Lock',
      detail,
      signal,
      maxHoldMs = Number.POSITIVE_INFINITY,
    } = options;
    throwIfAborted(closing.signal, 'the locks are closed');
    throwIfAborted(signal, 'the request was cancelled');
    token += 1;
    const nonce = randomUUID();
    const holder = {
      host: options.holder ?? host,
      reason,
      since: clock.date().toISOString(),
      ...(detail === undefined ? {} : { detail }),
    };
    const ticket = { id: nonce, nonce, token, session: 'noop', locks, kind, owner: host, holder };
    const granted = new NoopLock(ticket, () => held.delete(nonce));
    held.set(nonce, granted);
    if (maxHoldMs !== Number.POSITIVE_INFINITY) {
      void clock
        .sleep(maxHoldMs, granted.signal)
        .then(() => granted.lose('its longest hold has passed'));
    }
    return granted;
  }

  const list = async () => [...held.values()].map(({ ticket }) => ticket);

  return {
    lock,
    tryLock: async (requests, options = {}) => {
      checkTryOptions(options);
      return await lock(requests, options);
    },
    withLock: async <T>(locks: LockNames, ...given: WorkUnderLock<T>) => {
      const [options, work] = given.length === 1 ? [{}, given[0]] : given;
      checkKind('the work under a lock', work, 'a function');
      await using granted = await lock(locks, options);
      return await work(granted);
    },
    attach: async ({ nonce }) => held.get(nonce),
    disable: async (lockName) => {
      throw new LockUnsupportedError(
        `${lockName} can't be disabled: locks are off here, and every request is granted`,
      );
    },
    enable: async () => {},
    gates: async () => [],
    inspect: async (lockName) =>
      (await list()).filter(({ locks }) => locks.some(({ name }) => name === lockName)),
    list,
    record: async () => undefined,
    breakLock: async ({ nonce }) => held.get(nonce)?.lose('it was broken'),
    health: async () => [
      { severity: 'warning', message: 'locks are off: every request is granted at once' },
    ],
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      for (const granted of [...held.values()]) await granted.unlock();
    },
  };
}

class NoopLock implements Lock {
  readonly ticket: Ticket;
  readonly #ended = new AbortController();
  readonly #onEnd: () => void;

  constructor(ticket: Ticket, onEnd: () => void) {
    this.ticket = ticket;
    this.#onEnd = onEnd;
  }

  get token(): number {
    return this.ticket.token;
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get leftMs(): number {
    return this.#ended.signal.aborted ? 0 : Number.POSITIVE_INFINITY;
  }

  throwIfLost(): void {
    this.#ended.signal.throwIfAborted();
  }

  async confirm(): Promise<void> {
    this.throwIfLost();
  }

  async guard(writes: readonly RecordWrite[], options: { unlock?: boolean } = {}): Promise<void> {
    checkWrites(writes, options);
    this.throwIfLost();
    const [write] = writes;
    if (write) {
      throw new LockUnsupportedError(
        `record ${write.key} can't be written: locks are off here, and there is no store to keep it`,
      );
    }
    if (options.unlock) await this.unlock();
  }

  async unlock(): Promise<void> {
    this.#end(new LockLostError('the lock was released'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unlock();
  }

  lose(why: string): void {
    const names = this.ticket.locks.map(({ name }) => name).join(' + ');
    this.#end(new LockLostError(`lost the lock on ${names}: ${why}`));
  }

  #end(reason: LockLostError): void {
    if (this.#ended.signal.aborted) return;
    this.#onEnd();
    this.#ended.abort(reason);
  }
}

function throwIfAborted(signal: AbortSignal | undefined, message: string): void {
  if (signal?.aborted) throw new LockCancelledError(message, { cause: signal.reason });
}
