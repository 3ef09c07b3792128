import { toStoredChange } from '../../ticket-schema.ts';
import { Effects } from '../effects.ts';
import type { Connection, Row } from './connections.ts';
import type { Dialect } from './dialect.ts';
import type { Tables } from './schema.ts';
import type { Statement, Transaction } from './write-steps.ts';

/** The number of changes kept; a watcher that is further behind gets a `reset`. */
const changesKept = 1000;
const revisionsPerTrim = 100;

/** The changes that one transaction makes: of each step, one revision and one row for watchers. */
export class Changes {
  readonly #connection: Connection;
  readonly #before: number;
  readonly #changes: Effects[] = [];
  readonly #sent: Promise<unknown>[] = [];

  /** `revision`: the last one of the transaction before. */
  constructor(connection: Connection, revision: number) {
    this.#connection = connection;
    this.#before = revision;
  }

  /** The revision of the last change so far. */
  get revision(): number {
    return this.#before + this.#changes.length;
  }

  /** Takes one step and sends its statements, if it is done. */
  take<T extends { readonly isDone: boolean }>(step: (transaction: Transaction) => T): T {
    const statements: Statement[] = [];
    const effects = new Effects(this.revision + 1);
    const taken = step({ effects, send: (...statement) => statements.push(statement) });
    if (!taken.isDone) return taken;
    for (const statement of statements) this.#send(...statement);
    if (effects.hasAny()) this.#changes.push(effects);
    return taken;
  }

  /** Waits for answers to statements that were sent behind the changes so far. */
  async before(looks: readonly Promise<readonly Row[]>[]): Promise<readonly (readonly Row[])[]> {
    // If a statement was refused, its own error comes first, and those behind it only fail with it.
    const answers = await Promise.all([...this.#sent, Promise.all(looks)]);
    return answers.at(-1) as readonly (readonly Row[])[];
  }

  /** Writes the rows for watchers and commits. */
  async commit({ counter, changes, schema }: Tables, { notifies }: Dialect): Promise<void> {
    const { revision } = this;
    if (revision === this.#before) {
      this.#sent.push(this.#connection.script(['COMMIT']));
    } else {
      this.#send(`UPDATE ${counter} SET revision = $1 WHERE id = 1`, [revision]);
      this.#send(
        `INSERT INTO ${changes} SELECT * FROM unnest($1::int8[], $2::text[]) AS made (revision, change)`,
        [
          this.#changes.map((change) => change.revision),
          this.#changes.map((change) => JSON.stringify(toStoredChange(change))),
        ],
      );
      const trims = (each: number) => Math.floor(each / revisionsPerTrim);
      if (trims(revision) > trims(this.#before)) {
        this.#send(`DELETE FROM ${changes} WHERE revision <= $1`, [revision - changesKept]);
      }
      const notice = notifies ? [`NOTIFY ${schema}, '${revision}'`] : [];
      this.#sent.push(this.#connection.script([...notice, 'COMMIT']));
    }
    await Promise.all(this.#sent);
  }

  #send(...statement: Statement): void {
    this.#sent.push(this.#connection.query(...statement));
  }
}
