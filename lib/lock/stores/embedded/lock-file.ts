import { randomUUID } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../../running/message-of.ts';
import { toStoredChange } from '../../ticket-schema.ts';
import { Effects } from '../effects.ts';
import type { StoreChange, StoreState } from '../ticket-store.ts';
import type { WalFile } from './commit-sync.ts';
import { CommitSync, walFile } from './commit-sync.ts';
import { checkpoint, inTransaction, openDatabase, unsoundness } from './database.ts';
import type { FileGuard } from './file-guard.ts';
import { isDamage } from './sqlite-errors.ts';
import type { Statements } from './statements.ts';
import {
  integer,
  prepareStatements,
  text,
  toChange,
  toGate,
  toRecord,
  toTicket,
} from './statements.ts';

/** The number of changes kept; a watcher that is further behind gets a `reset`. */
const changesKept = 1000;
/** More than a power cut can undo: SQLite syncs its log before it has grown by a thousand pages. */
const revisionsPerBoot = 1_000_000;

/**
 * One connection to the file. Each step is a transaction; one that changes something raises the
 * revision by one and adds a row that tells watchers of the change. What a step has written is on disk
 * when `settled` resolves, unless it was nothing but tickets: a power cut ends the processes of all tickets,
 * and with the next boot go their sessions. The records that a request writes with its ticket are brought to
 * disk at once, and nobody needs to wait for them: a power cut that takes them ends what the holder did under
 * the ticket, too. That revisions, and so tokens, are never used twice is the work of `beginBoot`.
 */
export class LockFile {
  readonly statements: Statements;
  readonly #db: DatabaseSync;
  readonly #sync: CommitSync;
  readonly #guard: FileGuard | undefined;
  /** The revision of the last change that has to be on disk when it is answered. */
  #lastLasting = 0;
  /** Called after each committed change of this connection. Must not throw. */
  onChange: () => void = () => {};

  /** Throws OtherFileError if the guard finds the file in another state than this host left it in. */
  constructor(path: string, openWal: (path: string) => WalFile = walFile, guard?: FileGuard) {
    this.#guard = guard;
    guard?.checkFile();
    this.#db = guarded(guard, () => openDatabase(path, () => guard?.isNew()));
    try {
      this.statements = guarded(guard, () => prepareStatements(this.#db));
      if (guard) guarded(guard, () => this.#checkContent(guard));
      this.#sync = new CommitSync(path, openWal(path), () => checkpoint(this.#db));
      guard?.begin(this.#historyId(), this.revision());
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  read<T>(step: () => T): T {
    return inTransaction(this.#db, 'DEFERRED', step);
  }

  write<T>(step: (effects: Effects) => T): T {
    this.#guard?.check();
    const before = this.#writtenRows();
    const { outcome, isChange, isOnlyTickets, revision } = inTransaction(
      this.#db,
      'IMMEDIATE',
      () => {
        const last = this.revision();
        this.#guard?.saw(last);
        const effects = new Effects(last + 1);
        const outcome = step(effects);
        const isChange = effects.hasAny();
        if (isChange) this.#log(effects);
        const isOnlyTickets = isChange && !effects.hasLasting();
        return { outcome, isChange, isOnlyTickets, revision: isChange ? last + 1 : last };
      },
    );
    if (this.#writtenRows() !== before && !isOnlyTickets) {
      this.#sync.committed();
      this.#lastLasting = revision;
    }
    this.#guard?.saw(revision);
    if (isChange) this.onChange();
    return outcome;
  }

  /** Leaves out the revisions that an earlier boot may have used and lost. Part of a step. */
  beginBoot(): void {
    this.statements.setRevision.run(this.revision() + revisionsPerBoot);
  }

  /** Makes good a failed sync; call it before a step. Throws when it can't. */
  repair(): void {
    this.#sync.repair();
  }

  /** Resolves when all that was written before is on disk; as `CommitSync.settled`. */
  async settled(): Promise<void> {
    const revision = this.#lastLasting;
    await this.#sync.settled();
    this.#guard?.synced(revision);
  }

  /**
   * Does a step that queues a ticket. `earlier` resolves when all that was written before the step, and so all
   * that its answer may tell of others, is on disk.
   */
  queueing<T>(step: () => T): { readonly answer: T; readonly earlier: Promise<void> } {
    const { commits } = this.#sync;
    const answer = step();
    if (this.#sync.commits > commits) this.#sync.begin();
    return { answer, earlier: this.#sync.settled(commits) };
  }

  /** Returns the revision of the last change. */
  revision(): number {
    return integer(this.statements.revision.get(), 'revision');
  }

  /** Returns a number that changes when another connection commits. */
  dataVersion(): number {
    return integer(this.statements.dataVersion.get(), 'data_version');
  }

  state(): StoreState {
    return this.read(() => ({
      revision: this.revision(),
      tickets: this.statements.tickets.all().map(toTicket),
      records: this.statements.records.all().map(toRecord),
      gates: this.statements.gates.all().map(toGate),
      history: { id: this.#historyId(), isFirst: true },
    }));
  }

  /** Throws if the file can't be read and written. Changes nothing. */
  check(): void {
    this.write(() => this.statements.setRevision.run(this.revision()));
  }

  /** Returns all changes after `revision`; undefined if some of them are no longer kept. */
  changesAfter(revision: number): readonly StoreChange[] | undefined {
    const changes = this.statements.changesAfter.all(revision).map(toChange);
    const first = changes[0]?.revision ?? revision + 1;
    return first === revision + 1 ? changes : undefined;
  }

  close(): void {
    this.#guard?.closing();
    this.#sync[Symbol.dispose]();
    this.#db.close();
  }

  #checkContent(guard: FileGuard): void {
    const damage = guard.mustBeSound ? unsoundness(this.#db) : undefined;
    if (damage !== undefined) guard.notSound(damage);
    const { acceptedAbove: floor } = guard;
    if (floor === undefined) {
      guard.checkContent(this.#historyId(), this.revision());
      return;
    }
    // Tokens of the state that is gone must not come again, and nobody holds a lock of it.
    inTransaction(this.#db, 'IMMEDIATE', () => {
      this.statements.setHistory.run(randomUUID());
      this.statements.setRevision.run(Math.max(this.revision(), floor) + revisionsPerBoot);
      for (const table of ['tickets', 'sessions', 'changes']) this.#db.exec(`DELETE FROM ${table}`);
    });
  }

  #historyId(): string {
    return text(this.statements.history.get() ?? {}, 'id');
  }

  #writtenRows(): number {
    return integer(this.statements.writtenRows.get(), 'rows');
  }

  #log(effects: Effects): void {
    const { revision } = effects;
    this.statements.setRevision.run(revision);
    this.statements.writeChange.run(revision, JSON.stringify(toStoredChange(effects)));
    this.statements.forgetChangesUpTo.run(revision - changesKept);
  }
}

/** Runs a step of the start; a file that SQLite finds damaged is another one than before. */
function guarded<T>(guard: FileGuard | undefined, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (guard?.isKnown && isDamage(error)) guard.notSound(messageOf(error));
    throw error;
  }
}
