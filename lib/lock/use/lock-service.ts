import type { Lock } from '../lock.ts';
import type { Gate, Ticket } from '../ticket.ts';
import type { KeptLock, KeptLockState } from './kept-lock.ts';
import type { UseLocker } from './use.ts';

/**
 * Locks of volumes, as the interfaces above (volumes, admin socket) use them.
 * Implemented by LockDriver over a LockManager.
 */
export interface LockService {
  /** Runs `work` while holding one use lock; released after, however it ends. */
  executeWithUseLock<T>(
    use: UseLocker,
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T>;

  /** The same for several, taken in one atomic step: all or none. */
  executeWithMultiUseLock<T>(
    uses: readonly UseLocker[],
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T>;

  /**
   * Takes a lock that stays held until it is unlocked, refreshed by this host's session, also
   * through a lapse of the session and across a restart of this process; with `expires: false`,
   * across the death of this host.
   */
  acquireWithTTLRefresh(use: UseLocker, options: KeepOptions): Promise<KeptLock>;

  /** Takes back such a lock, granted to an earlier process; undefined when its ticket is gone. */
  resume(ticket: Ticket, onChange: KeepOptions['onChange']): Promise<KeptLock | undefined>;

  /**
   * Closes the gates of both locks of a volume, durably: neither is granted any more, requests that
   * wait are told so, and whoever holds one goes on. Answers the gates as they now are: the first
   * to close one stays its closer. Idempotent; after a rejection one of them may be closed.
   */
  disable(volume: string, options: { readonly why?: string }): Promise<readonly Gate[]>;

  /** Opens the gates of a volume; answers those that were closed. Idempotent, as `disable`. */
  enable(volume: string): Promise<readonly Gate[]>;

  /** The closed gates of volumes' locks as this host's mirror has them, by lock name. */
  gates(volume?: string): readonly Gate[];

  /** All tickets on volumes' locks as this host's mirror has them, in token order. */
  tickets(volume?: string): readonly Ticket[];
}

/** Clears locks for an operator. */
export interface LockClearer {
  /**
   * The operator's way out: removes one ticket, named by its volume and the token that was shown
   * (or both, when the host that held both of the volume's locks took them in one transaction).
   * Rejects with LockClearRefusedError when there is no such ticket (the holder changed meanwhile)
   * or its session is alive and `force` is not set.
   */
  clearLock(request: ClearRequest): Promise<Ticket>;
}

export interface UseLockOptions {
  readonly signal: AbortSignal;
  /** How long to wait; 0: one try. Undefined: the configured limit. */
  readonly timeoutMs?: number;
  /** For people: what the holder is, e.g. mount IDs or a command line. */
  readonly detail?: string;
  /** As that of `Locks.lock`. */
  readonly onWait?: (blockers: readonly Ticket[]) => void;
}

export interface KeepOptions extends UseLockOptions {
  /** False: the lock outlives this host, until it is unlocked or cleared. Default true. */
  readonly expires?: boolean;
  /** As that of `Locks.lock`. */
  readonly mark?: string;
  /** As that of `Locks.lock`. */
  readonly read?: string;
  /** Told each change of the lock's state, also the one that `unlock` makes. */
  readonly onChange: (state: KeptLockState) => void;
}

export interface ClearRequest {
  readonly volume: string;
  readonly token: number;
  /** Clear it although the holder is alive. */
  readonly force: boolean;
  readonly signal: AbortSignal;
}
