import { hostname } from 'node:os';
import { basename } from 'node:path';
import { checkClosing, checkOptions } from '../check-options.ts';
import { LockManager } from '../lock-manager.ts';
import type { LockManagerOptions } from '../manager-options.ts';
import { managerOptions } from '../manager-options.ts';
import type { LeaderOptions, Term } from '../recipes/leader/leader.ts';
import { lead } from '../recipes/leader/leader.ts';
import type { TicketStore } from '../stores/ticket-store.ts';
import { checkPlace } from './check-place.ts';
import type { LockPlace } from './open-store.ts';
import { openStore } from './open-store.ts';

/** How long a lock stands after the death of its holder. */
const defaultTtlMs = 15_000;

export interface OpenLocksOptions
  extends Partial<Omit<LockManagerOptions, 'store' | 'keep' | 'newNonce'>> {
  /** Present when a later process of the same `owner`, which has to be given, takes the locks over. */
  readonly keep?: NonNullable<LockManagerOptions['keep']>;
}

const { store: _store, newNonce: _newNonce, ...openOptions } = managerOptions;

/** Locks with their store, which is closed with them: then nothing of them keeps the process alive. */
export class OpenedLocks extends LockManager {
  readonly #store: TicketStore | undefined;
  #closed: Promise<void> | undefined;

  /** `ownStore` is closed with the locks. */
  constructor(options: LockManagerOptions, ownStore: TicketStore | undefined) {
    super(options);
    this.#store = ownStore;
  }

  /**
   * Waits until this process is the only leader of `name`, and runs `work`. If the leadership is lost
   * meanwhile, `term.signal` aborts, and `work` runs again in a later term. Resolves with the result
   * of `work`, and rejects with its error, or as `lock`.
   */
  leader<T>(
    name: string,
    work: (term: Term) => Promise<T>,
    options: LeaderOptions = {},
  ): Promise<T> {
    return lead(this, name, work, options);
  }

  override async close(options: { readonly keep?: boolean } = {}): Promise<void> {
    // Before the first step: the locks can still be closed after a mistake.
    checkClosing(options);
    this.#closed ??= this.#close(options);
    return await this.#closed;
  }

  async #close(options: { readonly keep?: boolean }): Promise<void> {
    try {
      await super.close(options);
    } finally {
      await this.#store?.[Symbol.asyncDispose]();
    }
  }
}

/**
 * Opens locks with the store that keeps them:
 *
 *     etcd://n1:2379,n2:2379/prefix    etcds:// with TLS; ?ca=FILE&cert=FILE&key=FILE; user:password@
 *     postgres://user:password@host/database?schema=berth
 *     sqlite:locks.db or ./locks.db    for the processes of one Linux host
 *     kubernetes:NAME                  in a pod, with its account; kubernetes:NAMESPACE/NAME
 *     memory:                          for this process
 *
 * A `pg.Pool`, an `Etcd3` or a store of one's own is given as an object. Without options the host and
 * the owner are the machine's name, the TTL is 15 s, and the reason is the program's name.
 *
 * etcd and PostgreSQL are connected to at the first request, so their absence shows there.
 * Rejects RangeError for an address that can't be read, MissingPackageError if the store needs a
 * package that is not installed, and as the store does.
 */
export async function openLocks(
  place: LockPlace,
  options: OpenLocksOptions = {},
): Promise<OpenedLocks> {
  checkPlace(place);
  checkOptions('openLocks', options, openOptions);
  const { host = hostname(), owner, ttlMs = defaultTtlMs, reason = programName() } = options;
  if (options.keep !== undefined && owner === undefined) {
    throw new RangeError('locks that a later process takes over need an owner: the name of both');
  }
  const { store, isOurs } = await openStore(place, { host, ttlMs });
  try {
    const given = { ...options, host, owner: owner ?? host, ttlMs, reason };
    return new OpenedLocks({ ...given, store }, isOurs ? store : undefined);
  } catch (error) {
    if (isOurs) await store[Symbol.asyncDispose]();
    throw error;
  }
}

/** Returns which program asks, for the person who has to find it. */
function programName(): string {
  return `${basename(process.argv[1] ?? process.execPath)}, process ${process.pid}`;
}
