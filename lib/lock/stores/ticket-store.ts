import type { Condition } from '../condition.ts';
import type { HistoryChange } from '../history.ts';
import type { Gate, Ticket, TicketRequest } from '../ticket.ts';

/**
 * The port between the lock engine and a store (memory, SQLite, etcd …).
 *
 *     engine ──► TicketStore ──┬─ memory/      a TicketModel in this process (the reference)
 *                              ├─ file/        a TicketModel in one file, replaced per step
 *                              ├─ embedded/    SQLite: one transaction per step
 *                              ├─ kubernetes/  a TicketModel in one object of an API server
 *                              ├─ postgres/    PostgreSQL: one transaction per step
 *                              └─ etcd/        one Txn per step, a lease per session
 *
 * A store performs atomic steps only; the engine waits, limits, renews and retries. A new store
 * implements this interface and passes the suites in `test/contract/store`.
 *
 * **Errors.** A method that can't reach the store, or whose answer was lost, rejects with
 * `StoreUnavailableError`. For a method that writes, the outcome is then *unknown*: the write may
 * have happened, or may still happen. So every writing method may be repeated with the same
 * arguments until it answers; its comment says what a repeat does.
 *
 * **Records** are the values that locks protect. A record changes only through `commit`, in the
 * same atomic step that checks that the writer's tickets still exist (the *guard*).
 *
 * **History** (`history.ts`). A store that can be put back to an earlier state notices it: it tells
 * its watchers (`historyChanged`) before it believes an answer of the other history, and rejects the
 * calls that were under way. For one TTL it then grants only requests with a `proof`; all others
 * reject with `StoreUnavailableError`.
 */
export interface TicketStore extends AsyncDisposable {
  /** The technology, for messages: `memory`, `embedded`, `etcd`. */
  readonly name: string;
  /** The ID of the store's history; undefined before the first answer, or if the store keeps none. */
  readonly historyId?: string | undefined;
  readonly properties: StoreProperties;

  /**
   * Opens a session for `owner`. `resume` names an earlier session: if that is still alive, the
   * store continues it with its tickets, else it opens a new one. `ttlMs` in the answer is the TTL
   * that the store granted (it may round up); `Infinity` if this store's sessions don't expire.
   * A repeat may leave an unused session behind, which expires by itself. A store whose sessions
   * don't expire continues a dead process's resumable session of the same owner even without
   * `resume`.
   *
   * A session is of the client (the object with this interface) that has opened or resumed it last. For an
   * earlier client, whose process was frozen meanwhile or runs by mistake, it has ended: `renewSession`, `enqueue` and
   * `tryEnqueue` reject with `SessionGoneError`, `place` answers `gone` and `stands` false, `commit` under its tickets
   * rejects with `GuardLostError`, and `remove` and `closeSession` resolve without any effect. So such a process
   * removes nothing of its heir. (Not where sessions end with their process.)
   *
   * `ttlMs: Infinity` continues the permanent session of `owner` (permanent-session.ts), which
   * always exists: its tickets stand until they are removed, and once it has been opened, none of
   * its requests rejects with `SessionGoneError`. A store whose sessions don't expire has no
   * permanent session and opens one as for any other TTL.
   */
  openSession(request: SessionRequest): Promise<OpenSession>;

  /**
   * Extends a session by its TTL, counted from some moment after the call was made.
   * Rejects with `SessionGoneError` if the store has ended it.
   */
  renewSession(id: string): Promise<{ readonly ttlMs: number }>;

  /**
   * Ends a session and removes all its tickets. Succeeds if the session is gone. A permanent
   * session stays, without the tickets that stood at the call.
   */
  closeSession(id: string): Promise<void>;

  /**
   * True if a session's owner is alive: its renewals arrive, or its process runs. False for a
   * session that is gone, and for a permanent one, which nobody renews. Only for people and for the
   * check before a lock is cleared.
   */
  sessionAlive(id: string): Promise<boolean>;

  /**
   * Queues a ticket. Answers `granted`, `waiting`, or `disabled` if the gate of one of the locks is
   * closed; nothing is then written. A repeat (same nonce) answers for the ticket that the first
   * call wrote. Rejects with `SessionGoneError` if the session has ended, and with `PermitsDifferError`
   * if a ticket for another number of permits stands on one of the locks; nothing is then written.
   */
  enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled>;

  /**
   * Does the same as `enqueue`, but if the ticket would have to wait, answers `refused`, and no ticket is left.
   * (etcd: if others keep changing the permits of a lock, the ticket is queued and removed again.)
   */
  tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled>;

  /**
   * Reads, in one linearizable step, the present place of a waiting ticket. `gone`: the ticket no
   * longer exists (removed, broken, or its session ended), so it can't be granted any more.
   * `disabled`: a gate was closed before the grant; the ticket still stands, and its owner should
   * remove it.
   */
  place(ticket: Ticket): Promise<Placement>;

  /**
   * True if a granted ticket still stands, read in one linearizable step: it exists and no lower
   * ticket is in its way. Gates don't concern holders.
   */
  stands(ticket: Ticket): Promise<boolean>;

  /**
   * Removes a ticket, and never another ticket that has taken its place under the same id. The
   * caller may pass a request whose outcome is unknown instead. Succeeds if the ticket is gone.
   * `claim` is the key of the ticket's claim: the same step deletes that record, also when the
   * ticket is gone already. `note`: the same step writes that record, but only if it removes the ticket,
   * so that a repeat never replaces a later note.
   */
  remove(ticket: Ticket | TicketRequest, claim?: string, note?: RecordNote): Promise<void>;

  /**
   * Applies `change` if, and only if, every ticket in `guards` still exists and every record has
   * the revision the change expects; all in one atomic step.
   * Rejects with `GuardLostError` or `RecordConflictError`; nothing is then changed.
   * A repeat after an unknown outcome resolves if it finds the change already made: every record
   * has the new value and every ticket is released. (So a change that only deletes or releases also
   * resolves if another has done the same.) The answer is the revision at which the records were
   * written. An empty change only checks the guards.
   */
  commit(change: GuardedChange): Promise<Committed>;

  /** Reads all tickets, or those of one lock, in token order. Linearizable. */
  tickets(lockName?: string): Promise<readonly Ticket[]>;

  /** Reads one record. Linearizable. */
  record(key: string): Promise<StoredRecord | undefined>;

  /** Reads all records whose keys begin with `prefix`, by key. Linearizable. */
  records(prefix: string): Promise<readonly StoredRecord[]>;

  /** Closes a lock's gate: no grant follows the answer. A gate that is closed stays as it is. */
  closeGate(gate: Gate): Promise<void>;

  /** Opens a lock's gate. Succeeds if it is open. */
  openGate(lockName: string): Promise<void>;

  /** Reads the closed gates, by lock name. Linearizable. */
  gates(): Promise<readonly Gate[]>;

  /**
   * Returns present and expected faults of the store, in words for a person; empty if none is
   * known. Never rejects: a store that does not answer is a condition.
   */
  health(): Promise<readonly Condition[]>;

  /**
   * Asks each server of the store for its state, for a second at most. Never rejects. Absent: the store has no
   * servers, or they can't be asked one by one.
   */
  members?(): Promise<readonly StoreMember[]>;

  /**
   * Goes on with the store as it is, after it was refused because it is not in the state in which this
   * host left it (`HistoryChange.isRefused`): all sessions and tickets end, and a new history begins.
   * The caller knows that no other process holds a lock of this store. Resolves to false, and changes
   * nothing, if it is not refused.
   */
  accept?(): Promise<boolean>;

  /**
   * Follows the store until disposed. Calls the watcher's `reset` with the whole state at one
   * revision, then `change` for each later change, once and in order. After a break it calls
   * `interrupted`. When the store is back, it calls `change` for each change that was missed and then
   * `resumed`, or else `reset` again. Never throws; reconnects for ever.
   */
  watch(watcher: StoreWatcher): Disposable;

  /**
   * True if the watches report each ticket and the gate of a lock, none left out, and nothing makes the present
   * history doubtful: then a reported state proves a grant. Absent: it never does.
   */
  showsAllOn?(lockName: string): boolean;
}

/** One server of a store, for people. */
export interface StoreMember {
  /** `host:port`. */
  readonly endpoint: string;
  /** The name among the servers, if it is known. */
  readonly name?: string;
  readonly reachable: boolean;
  /** Why it can't be reached. */
  readonly why?: string;
  readonly role?: 'leader' | 'follower' | 'no leader';
  /** The name of the leader that it follows. */
  readonly leader?: string;
  readonly version?: string;
  readonly databaseBytes?: number;
  /** The size of the database at which it refuses writes, if it says so. */
  readonly quotaBytes?: number;
}

/** The abilities of a store. A request for an ability that it lacks is an error that says so. */
export interface StoreProperties {
  /** A session ends by itself if it is not renewed, so its holder has a deadline. */
  readonly sessionsExpire: boolean;
  /** A session, with its tickets, can outlive the process that opened it. */
  readonly sessionsResume: boolean;
  /** Several processes of one host can use it. */
  readonly multiProcess: boolean;
  /** Several hosts can use it. */
  readonly multiHost: boolean;
}

export interface SessionRequest {
  /** Infinity: the permanent session, which must be `resumable`. */
  readonly ttlMs: number;
  /** The host's identity. */
  readonly owner: string;
  /**
   * The tickets must outlive this process (else a store without expiry drops them with it).
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
   * The record that the request reads, as of the step of the grant. Present if that step wrote the
   * ticket. A repeat and `place` may omit it: the caller then reads the record itself, which no
   * other holder of the lock can have changed since.
   */
  readonly read?: ReadRecord;
}

/** The result of reading the record that a request names. */
export interface ReadRecord {
  readonly record: StoredRecord | undefined;
  /** The records below the request's `readBelow`, by key; absent if it names no prefix. */
  readonly below?: readonly StoredRecord[];
}

export interface Waiting {
  readonly state: 'waiting';
  readonly ticket: Ticket;
  /**
   * On each lock that is not free, the nearest lower ticket in the way; of permits in the way, as many as the
   * lock has, the nearest lower ones: as long as these stand, no permit is free. Never empty; by token.
   */
  readonly blockers: readonly Ticket[];
  /** The store's revision of this answer. */
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
  /** The closed gates of the requested locks; never empty. By lock name. */
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
  /** Tickets to remove in the same step; each of them is also a guard. */
  readonly release: readonly Ticket[];
}

export interface RecordWrite {
  readonly key: string;
  /** The new value; undefined deletes the record. Must be unique to this write (carry a token). */
  readonly value: string | undefined;
  /** The revision the record must have now; 0: it must not exist; undefined: any. */
  readonly expectedRevision?: number;
}

/** A record that is written whatever it was before. */
export interface RecordNote {
  readonly key: string;
  readonly value: string;
}

export interface Committed {
  readonly revision: number;
}

export interface StoreWatcher {
  reset(state: StoreState): void;
  change(change: StoreChange): void;
  /** From now until the next `reset` or `resumed`, the reported state may be out of date. */
  interrupted(): void;
  /** Every change since `interrupted` has been reported. */
  resumed(): void;
  /**
   * The store has another history than before: what was granted may be missing, and what was removed
   * may stand again. A `reset` follows.
   */
  historyChanged?(change: HistoryChange): void;
}

export interface StoreState {
  readonly revision: number;
  readonly tickets: readonly Ticket[];
  readonly records: readonly StoredRecord[];
  readonly gates: readonly Gate[];
  /** The history that this is a state of; absent: the store keeps none. */
  readonly history?: StoreHistoryName;
}

/** Names a history of a store. */
export interface StoreHistoryName {
  readonly id: string;
  /** False: the store had another history before. */
  readonly isFirst: boolean;
}

export interface StoreChange {
  readonly revision: number;
  readonly tickets: readonly Ticket[];
  /** Tickets that are gone. Ids are reused, so the nonce names the ticket. */
  readonly removedTickets: readonly { readonly id: string; readonly nonce: string }[];
  readonly records: readonly StoredRecord[];
  readonly removedRecords: readonly string[];
  readonly closedGates: readonly Gate[];
  /** The gates that were opened, by lock name. */
  readonly openedGates: readonly string[];
}

/** Returns an empty change at a revision. */
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
