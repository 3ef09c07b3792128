import type { Condition } from '../condition.ts';
import type { Gate, Ticket, TicketRequest } from '../ticket.ts';

/**
 * The port between the lock engine and a store (memory, SQLite, etcd …).
 *
 * A store only does atomic things; waiting, time-outs, renewal and retries are the engine's.
 *
 * **Errors.** A method that can't reach the store, or whose answer was lost, rejects with
 * `StoreUnavailableError`. For a method that writes this means *unknown*: the write may have
 * happened, or may still happen. Every writing method may therefore be repeated with the same
 * arguments until it answers; each says what a repeat finds.
 *
 * **Records** are the values that locks protect. A record changes only through `commit`, in the
 * same atomic step that checks that the writer's tickets still exist (the *guard*).
 */
export interface TicketStore extends AsyncDisposable {
  /** The technology, for messages: `memory`, `embedded`, `etcd`. */
  readonly name: string;
  readonly properties: StoreProperties;

  /**
   * Opens a session for `owner`. `resume` names one opened earlier: when it is still alive it is
   * continued, with its tickets, else a new one is opened. `ttlMs` in the answer is what the store
   * really granted (it may round up); `Infinity` when this store's sessions don't expire.
   * A repeat may leave an unused session behind, which expires by itself. A store whose sessions
   * don't expire continues a dead process's resumable session of the same owner also unasked.
   *
   * `ttlMs: Infinity` continues the permanent session of `owner` (permanent-session.ts), which has
   * always been there: its tickets stand until they are removed, and once it has been opened no
   * request of it is refused as that of one that is gone. A store whose sessions don't expire has
   * none, and opens one as for any other TTL.
   */
  openSession(request: SessionRequest): Promise<OpenSession>;

  /**
   * Extends a session by its TTL, counted from some moment after the call was made.
   * Rejects with `SessionGoneError` when the store no longer knows it.
   */
  renewSession(id: string): Promise<{ readonly ttlMs: number }>;

  /**
   * Ends a session and removes all its tickets. Ending one that is gone is a success. A permanent
   * one goes on, without the tickets that stood when it was called.
   */
  closeSession(id: string): Promise<void>;

  /**
   * Whether a session's owner has been heard of lately (its renewals arrive, its process lives).
   * False for one that is gone, and for a permanent one, of which nothing is heard. Only for people
   * and for the check before a lock is cleared.
   */
  sessionAlive(id: string): Promise<boolean>;

  /**
   * Queues a ticket; answers `granted`, `waiting`, or, when the gate of one of the locks is closed,
   * `disabled`: nothing is then written. A repeat (same nonce) answers for the ticket that the
   * first call wrote. Rejects with `SessionGoneError` when the session is dead; nothing is then
   * written.
   */
  enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled>;

  /** As `enqueue`, but when the ticket would have to wait writes nothing and answers `refused`. */
  tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled>;

  /**
   * Reads, in one linearizable step, where a ticket that waits stands now. `gone`: it no longer
   * exists (removed, broken, or its session ended), so it can never be granted. `disabled`: a gate
   * was closed before it was granted; it still stands, and its owner should remove it.
   */
  place(ticket: Ticket): Promise<Placement>;

  /**
   * Whether a ticket that has been granted still stands, read in one linearizable step: it exists
   * and nothing lower is in its way. Gates don't matter to those who hold.
   */
  stands(ticket: Ticket): Promise<boolean>;

  /**
   * Removes a ticket, and only that one: never another that has taken its place under the same
   * name. A request whose outcome is unknown may be given instead of a ticket. Removing one that
   * is not there is a success.
   */
  remove(ticket: Ticket | TicketRequest): Promise<void>;

  /**
   * Applies `change` if, and only if, every ticket in `guards` still exists and every record has
   * the revision the change expects; all in one atomic step.
   * Rejects with `GuardLostError` or `RecordConflictError`; nothing is then changed.
   * A repeat after an unknown outcome resolves when it finds the change already made: every record
   * as wanted and every ticket released. (So a change that only deletes or releases also resolves
   * when someone else has done the same.) It answers the revision at which the records were written.
   * A change of nothing is a check of the guards.
   */
  commit(change: GuardedChange): Promise<Committed>;

  /** All tickets, or those that ask for one lock, in token order. Linearizable. */
  tickets(lockName?: string): Promise<readonly Ticket[]>;

  /** One record, or undefined. Linearizable. */
  record(key: string): Promise<StoredRecord | undefined>;

  /** Closes a lock's gate: nothing is granted on it after this answers. A closed one stays as it is. */
  closeGate(gate: Gate): Promise<void>;

  /** Opens a lock's gate. Opening one that is open is a success. */
  openGate(lockName: string): Promise<void>;

  /** The closed gates, by lock name. Linearizable. */
  gates(): Promise<readonly Gate[]>;

  /**
   * What is wrong with the store, or soon will be, in words for a person; empty when nothing is
   * known to be. Never rejects: a store that does not answer is a condition.
   */
  health(): Promise<readonly Condition[]>;

  /**
   * Follows the store until disposed. The watcher first gets `reset` with the whole state at one
   * revision, then each later change once and in order. After a break it gets `interrupted`, and
   * `reset` again when the store is back. Never throws; never gives up.
   */
  watch(watcher: StoreWatcher): Disposable;
}

/** What a store can do, as data. Asking for what it can't do is an error that says so. */
export interface StoreProperties {
  /** Sessions end by themselves when they are not renewed (so there is a deadline to keep). */
  readonly sessionsExpire: boolean;
  /** A session, with its tickets, can outlive the process that opened it. */
  readonly sessionsResume: boolean;
  /** Several processes of one host can use it. */
  readonly multiProcess: boolean;
  /** Several hosts can use it. */
  readonly multiHost: boolean;
}

export interface SessionRequest {
  /** Infinity, which has to be `resumable`: the permanent session. */
  readonly ttlMs: number;
  /** Who opens it: the host's identity. */
  readonly owner: string;
  /**
   * The tickets must outlive this process (a store without expiry would else drop them with it).
   * Rejected with `LockUnsupportedError` by a store without `sessionsResume`.
   */
  readonly resumable: boolean;
  /** The id of a session to continue. */
  readonly resume?: string;
}

export interface OpenSession {
  readonly id: string;
  readonly ttlMs: number;
  readonly resumed: boolean;
}

export interface Granted {
  readonly state: 'granted';
  readonly ticket: Ticket;
  /**
   * The record that the request asked to read, as it was in the step of the grant. Always there
   * when that step wrote the ticket. A repeat and `place` may leave it out: the caller then reads the
   * record itself, which no other holder of the lock can have changed since.
   */
  readonly read?: ReadRecord;
}

/** What was found under the key that a request asked to read. */
export interface ReadRecord {
  readonly record: StoredRecord | undefined;
}

export interface Waiting {
  readonly state: 'waiting';
  readonly ticket: Ticket;
  /** For each lock that is not free, the nearest lower ticket in the way; never empty. By token. */
  readonly blockers: readonly Ticket[];
  /** The store's revision at which this was so. */
  readonly revision: number;
}

export interface Refused {
  readonly state: 'refused';
  readonly blockers: readonly Ticket[];
}

export interface Gone {
  readonly state: 'gone';
}

export interface Disabled {
  readonly state: 'disabled';
  /** The closed ones among the gates of the locks asked for; never empty. By lock name. */
  readonly gates: readonly Gate[];
}

export type Placement = Granted | Waiting | Disabled | Gone;

export interface StoredRecord {
  readonly key: string;
  readonly value: string;
  /** The revision of its last change. */
  readonly revision: number;
}

export interface GuardedChange {
  readonly guards: readonly Ticket[];
  /** No key twice. */
  readonly writes: readonly RecordWrite[];
  /** Tickets to remove in the same step; each is also a guard. */
  readonly release: readonly Ticket[];
}

export interface RecordWrite {
  readonly key: string;
  /** The new value; undefined deletes the record. Must be unique to this write (carry a token). */
  readonly value: string | undefined;
  /** The revision the record must have now; 0: it must not exist; undefined: any. */
  readonly expectedRevision?: number;
}

export interface Committed {
  readonly revision: number;
}

export interface StoreWatcher {
  reset(state: StoreState): void;
  change(change: StoreChange): void;
  /** What was reported may be out of date from now on, until the next `reset`. */
  interrupted(): void;
}

export interface StoreState {
  readonly revision: number;
  readonly tickets: readonly Ticket[];
  readonly records: readonly StoredRecord[];
  readonly gates: readonly Gate[];
}

export interface StoreChange {
  readonly revision: number;
  readonly tickets: readonly Ticket[];
  /** Tickets that are gone. An id may be in use again; the nonce tells which ticket it was. */
  readonly removedTickets: readonly { readonly id: string; readonly nonce: string }[];
  readonly records: readonly StoredRecord[];
  readonly removedRecords: readonly string[];
  readonly closedGates: readonly Gate[];
  /** By lock name. */
  readonly openedGates: readonly string[];
}

/** A change of nothing, to be filled in. */
export function noChange(revision: number): StoreChange {
  return {
    revision,
    tickets: [],
    removedTickets: [],
    records: [],
    removedRecords: [],
    closedGates: [],
    openedGates: [],
  };
}
