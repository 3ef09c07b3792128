import type { DatabaseSync } from 'node:sqlite';
import { Effects } from '../effects.ts';
import type { StoreChange, StoreState } from '../ticket-store.ts';
import type { WalFile } from './commit-sync.ts';
import { CommitSync, walFile } from './commit-sync.ts';
import { checkpoint, inTransaction, openDatabase } from './database.ts';
import type { Statements } from './statements.ts';
import { integer, prepareStatements, toChange, toGate, toRecord, toTicket } from './statements.ts';

/** The number of changes kept; a watcher that is further behind gets a `reset`. */
const changesKept = 1000;

/**
 * One connection to the file. Each step is a transaction; one that changes something raises the
 * revision by one and adds a row that tells watchers of the change. What a step has written is on disk
 * when `settled` resolves.
 */
export class LockFile {
  readonly statements: Statements;
  readonly #db: DatabaseSync;
  readonly #sync: CommitSync;
  /** Called after each committed change of this connection. Must not throw. */
  onChange: () => void = () => {};

  constructor(path: string, openWal: (path: string) => WalFile = walFile) {
    this.#db = openDatabase(path);
    try {
      this.statements = prepareStatements(this.#db);
      this.#sync = new CommitSync(path, openWal(path), () => checkpoint(this.#db));
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  read<T>(step: () => T): T {
    return inTransaction(this.#db, 'DEFERRED', step);
  }

  write<T>(step: (effects: Effects) => T): T {
    const before = this.#writtenRows();
    const { outcome, isChange } = inTransaction(this.#db, 'IMMEDIATE', () => {
      const effects = new Effects(this.revision() + 1);
      const outcome = step(effects);
      const isChange = effects.hasAny();
      if (isChange) this.#log(effects);
      return { outcome, isChange };
    });
    if (this.#writtenRows() !== before) this.#sync.committed();
    if (isChange) this.onChange();
    return outcome;
  }

  /** Makes good a failed sync; call it before a step. Throws when it can't. */
  repair(): void {
    this.#sync.repair();
  }

  /** Resolves when all that was written before is on disk; as `CommitSync.settled`. */
  settled(): Promise<void> {
    return this.#sync.settled();
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
    this.#sync[Symbol.dispose]();
    this.#db.close();
  }

  #writtenRows(): number {
    return integer(this.statements.writtenRows.get(), 'rows');
  }

  #log(effects: Effects): void {
    const { revision } = effects;
    this.statements.setRevision.run(revision);
    this.statements.writeChange.run(revision, JSON.stringify(effects));
    this.statements.forgetChangesUpTo.run(revision - changesKept);
  }
}
