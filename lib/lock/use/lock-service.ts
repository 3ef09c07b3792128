import type { Lock } from '../lock.ts';
import type { Gate, Ticket } from '../ticket.ts';
import type { KeptLock, KeptLockState } from './kept-lock.ts';
import type { UseLocker } from './use.ts';

/** Locks of volumes, as volume operations and the admin socket use them. See `LockDriver`. */
export interface LockService {
  /** Runs `work` under one lock, then releases it, also when `work` fails. */
  executeWithUseLock<T>(
    use: UseLocker,
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T>;

  /** Runs `work` under several locks, acquired in one atomic step: all or none. */
  executeWithMultiUseLock<T>(
    uses: readonly UseLocker[],
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T>;

  /**
   * Acquires a lock that stays held until it is unlocked. This host's session renews it, and it
   * survives a lapse of the session and a restart of this process; with `expires: false` also the
   * death of this host.
   */
  acquireWithTTLRefresh(use: UseLocker, options: KeepOptions): Promise<KeptLock>;

  /** Takes back such a lock of an earlier process; undefined if its ticket is gone. */
  resume(ticket: Ticket, onChange: KeepOptions['onChange']): Promise<KeptLock | undefined>;

  /**
   * Closes the gates of both locks of a volume, durably: neither is granted any more, waiting
   * requests are rejected, and holders keep their locks. Returns the gates as they now are: the
   * first who closed one stays on record. Idempotent; after a rejection one gate may be closed.
   */
  disable(volume: string, options: { readonly why?: string }): Promise<readonly Gate[]>;

  /** Opens the gates of a volume; returns those that were closed. Idempotent, as `disable`. */
  enable(volume: string): Promise<readonly Gate[]>;

  /** Returns the closed gates of volumes' locks from this host's mirror, by lock name. */
  gates(volume?: string): readonly Gate[];

  /** Returns all tickets on volumes' locks from this host's mirror, in token order. */
  tickets(volume?: string): readonly Ticket[];
}

/** Clears locks for an operator. */
export interface LockClearer {
  /**
   * Removes one ticket for an operator, named by its volume and the token that was shown (or two
   * tickets, if one host acquired both of the volume's locks in one transaction). Rejects
   * LockClearRefusedError if there is no such ticket (the holder has changed meanwhile), or if its
   * host is alive and `force` is not set.
   */
  clearLock(request: ClearRequest): Promise<Ticket>;
}

export interface UseLockOptions {
  readonly signal: AbortSignal;
  /** The wait limit; 0: one try, Infinity: none. Undefined: the configured limit. */
  readonly timeoutMs?: number;
  /** Describes the holder for people, e.g. mount IDs or a command line. */
  readonly detail?: string;
  /** See `LockOptions`. */
  readonly read?: string;
  /** See `LockOptions`. */
  readonly onWait?: (blockers: readonly Ticket[]) => unknown;
}

export interface KeepOptions extends UseLockOptions {
  /** False: the lock outlives this host until it is unlocked or cleared. Default true. */
  readonly expires?: boolean;
  /** See `LockOptions`. */
  readonly mark?: string;
  /** See `LockOptions`. */
  readonly claim?: { readonly prefix: string; readonly value: string };
  /** See `LockOptions`. */
  readonly readBelow?: string;
  /** See `TicketRequest`. */
  readonly proof?: number | undefined;
  /** Called at each change of the lock's state, also at `unlock`. */
  readonly onChange: (state: KeptLockState) => void;
}

export interface ClearRequest {
  readonly volume: string;
  readonly token: number;
  /** Clear the lock although the holder is alive. */
  readonly force: boolean;
  readonly signal: AbortSignal;
}
