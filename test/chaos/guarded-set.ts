import {
  GuardLostError,
  LockError,
  LockLostError,
  StoreUnavailableError,
} from '../../lib/lock/errors.ts';
import type { Lock } from '../../lib/lock/lock.ts';
import type { LockManager } from '../../lib/lock/lock-manager.ts';
import type { RecordWrite, TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { HistoryWriter, WriteOutcome } from './history.ts';
import { monotonicMs } from './history.ts';

/**
 * How a set is written under its lock. `guarded`: with the lock's guard. `blind`: with the guard in
 * the store alone, without a check whether the lock is lost. `unguarded`: without a guard.
 */
export type Writing = 'guarded' | 'blind' | 'unguarded';

export interface AddOptions {
  readonly writing?: Writing;
  /** Zero: one try. Undefined: no limit. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Awaited under the lock, between the read of the sets and the write. */
  readonly beforeWrite?: () => Promise<unknown>;
  /** True when the write releases the lock in the same step. */
  readonly releases?: boolean;
}

export interface AddResult {
  readonly outcome: WriteOutcome | 'denied' | 'unread';
  readonly token?: number;
  /** The code of the error that denied the locks. */
  readonly code?: string;
  /** The code of the error that `throwIfLost` threw before the write. */
  readonly lost?: string;
  /** True when the signal had aborted before the write. */
  readonly aborted?: boolean;
}

/** The value of a set's record: each element with the token under which it was added. */
export type SetElements = readonly (readonly [element: string, token: number])[];

export function parseSet(value: string | undefined): SetElements {
  return value === undefined ? [] : JSON.parse(value);
}

/**
 * Sets in records. To add an element, the whole set is read and written back under the lock of its
 * name; two writers at once would lose an element.
 */
export class GuardedSets {
  readonly #manager: LockManager;
  readonly #store: TicketStore;
  readonly #history: HistoryWriter;
  readonly #name: string;
  #steps = 0;

  constructor(manager: LockManager, store: TicketStore, history: HistoryWriter, name: string) {
    this.#manager = manager;
    this.#store = store;
    this.#history = history;
    this.#name = name;
  }

  /** Adds an element to all of the sets in one step, under the locks of all of them. */
  async add(sets: readonly string[], options: AddOptions): Promise<AddResult> {
    this.#steps += 1;
    const element = `${this.#name}-${this.#steps}`;
    this.#history.add({ op: 'request', sets });
    let lock: Lock;
    try {
      const locks = sets.map((name) => ({ name, mode: 'exclusive' }) as const);
      const { timeoutMs, signal } = options;
      lock = await this.#manager.lock(locks, {
        reason: 'Add',
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
      this.#history.add({ op: 'denied', code: error.code });
      return { outcome: 'denied', code: error.code };
    }
    await using held = lock;
    return await this.#addUnder(held, sets, element, options);
  }

  async #addUnder(
    lock: Lock,
    sets: readonly string[],
    element: string,
    options: AddOptions,
  ): Promise<AddResult> {
    const { token, signal } = lock;
    this.#prove(lock, sets);
    const elements = await this.#read(sets, token);
    if (!elements) return { outcome: 'unread', token };
    await options.beforeWrite?.();
    const lost = this.#prove(lock, sets);
    const { aborted } = signal;
    for (const list of elements.values()) list.push([element, token]);
    const records = [...elements].map(([key, list]) => ({ key, value: JSON.stringify(list) }));
    const write = { sets, token, element };
    this.#history.add({ op: 'write', ...write });
    const outcome = await this.#write(lock, records, options);
    this.#history.add({ op: outcome, ...write });
    return { outcome, token, aborted, ...(lost === undefined ? {} : { lost }) };
  }

  /** Records that the lock is held, at a time before the check; else returns the error's code. */
  #prove(lock: Lock, sets: readonly string[]): string | undefined {
    const atMs = monotonicMs();
    try {
      lock.throwIfLost();
    } catch (error) {
      if (!(error instanceof LockLostError)) throw error;
      this.#history.add({ op: 'lost', token: lock.token });
      return error.code;
    }
    this.#history.add({ op: 'held', sets, token: lock.token }, atMs);
    return undefined;
  }

  /** Reads the sets; returns undefined when the store does not answer. */
  async #read(
    sets: readonly string[],
    token: number,
  ): Promise<Map<string, [string, number][]> | undefined> {
    const elements = new Map<string, [string, number][]>();
    try {
      for (const set of sets) {
        const record = await this.#store.record(set);
        this.#history.add({ op: 'read', set, token, revision: record?.revision ?? 0 });
        elements.set(
          set,
          parseSet(record?.value).map(([element, by]) => [element, by]),
        );
      }
    } catch (error) {
      if (error instanceof StoreUnavailableError) return undefined;
      throw error;
    }
    return elements;
  }

  async #write(
    lock: Lock,
    writes: readonly RecordWrite[],
    { writing = 'guarded', releases = false }: AddOptions,
  ): Promise<WriteOutcome> {
    try {
      if (writing === 'guarded') await lock.guard(writes, { unlock: releases });
      else {
        const guards = writing === 'blind' ? [lock.ticket] : [];
        await this.#store.commit({ guards, writes, release: [] });
      }
      return 'written';
    } catch (error) {
      if (error instanceof LockLostError || error instanceof GuardLostError) return 'refused';
      if (error instanceof StoreUnavailableError) return 'unknown';
      throw error;
    }
  }
}
