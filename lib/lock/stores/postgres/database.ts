import { setTimeout as pause } from 'node:timers/promises';
import { StoreUnavailableError } from '../../errors.ts';
import type { Ticket } from '../../ticket.ts';
import { Effects } from '../effects.ts';
import type { Connection, Connections, Line, Row } from './connections.ts';
import { rolledBack } from './connections.ts';
import type { Dialect } from './dialect.ts';
import { isConflict } from './postgres-errors.ts';
import { flag, number, text, toTicket } from './rows.ts';
import type { Tables } from './schema.ts';
import { prepareSchema, tablesIn } from './schema.ts';
import { PostgresSigns } from './signs.ts';
import type { TimeLimit } from './time-limit.ts';
import { Turns } from './turns.ts';

/** The number of changes kept; a watcher that is further behind gets a `reset`. */
const changesKept = 1000;
const revisionsPerTrim = 100;
const longestRetryPauseMs = 20;

/** A statement and its values. */
export type Statement = readonly [text: string, values: readonly unknown[]];

/** A writing step, during which nobody else writes. */
export interface Transaction {
  readonly effects: Effects;
  /** Queues a statement, which runs together with all others and the commit. */
  send(...statement: Statement): void;
}

/** Decides the changes from the rows of the step's first statement. Throws before it sends. */
export type Step<T> = (rows: readonly Row[], transaction: Transaction) => T;

/**
 * The tables in one schema. A writing step is one transaction of two round trips (a read and the
 * writes), repeated if the database rolls it back because of others. A step that changes tickets,
 * records or gates raises the revision by one and adds a row that tells watchers of the change.
 *
 * Each writing step removes expired sessions with their tickets. Only the database's clock decides
 * about expiry.
 */
export class Database {
  readonly tables: Tables;
  readonly dialect: Dialect;
  /** SQL: true if the session in this row has expired. */
  readonly isOver: string;
  /** Called after each committed change of this client. Must not throw. */
  onChange: () => void = () => {};
  /** The database's address, for people. */
  readonly server: string;
  /** The signs of another history. */
  readonly signs = new PostgresSigns();
  /** SQL: the ID of the history, as part of a step. */
  readonly historyId: string;
  readonly #connections: Connections;
  readonly #schema: string;
  readonly #turns = new Turns();
  #prepared: Promise<void> | undefined;

  constructor(connections: Connections, schema: string, dialect: Dialect) {
    this.#connections = connections;
    this.server = connections.server;
    this.#schema = schema;
    this.tables = tablesIn(schema);
    this.dialect = dialect;
    this.historyId = `(SELECT history_id FROM ${this.tables.history})`;
    connections.onConnect = () => this.signs.suspect();
    this.isOver = `${dialect.expiry} <= clock_timestamp()`;
  }

  /**
   * Runs one statement as a transaction of its own; returns its rows. They need the column `history`, if
   * they tell something of it.
   */
  async run(statement: string, values: readonly unknown[]): Promise<readonly Row[]> {
    using limit = this.#connections.limit();
    const rows = await this.#step((connection) => connection.query(statement, values), limit);
    for (const row of rows) this.#heard(row, this.signs.revision, 0);
    return rows;
  }

  /** Runs a look at the history, or a change of it, on a connection that need not be verified. */
  async look<T>(look: (connection: Connection) => Promise<T>): Promise<T> {
    using limit = this.#connections.limit();
    await this.#prepare(limit);
    return await this.#connections.use(
      (connection) => persist(() => rolledBack(look(connection), connection), limit),
      limit,
    );
  }

  /**
   * Reads `columns` (a select list) from one state without expired sessions. Rejects on a standby,
   * whose data may be old.
   */
  async read(columns: string, values: readonly unknown[] = []): Promise<Row> {
    const { sessions, counter } = this.tables;
    const statement =
      `SELECT ${this.dialect.isStandby} AS is_standby, ${this.historyId} AS history, ` +
      `(SELECT revision FROM ${counter}) AS heard_revision, ` +
      `EXISTS (SELECT 1 FROM ${sessions} WHERE ${this.isOver}) AS has_expired, ${columns}`;
    using limit = this.#connections.limit();
    for (;;) {
      const floor = this.signs.revision;
      const [row] = await this.#step((connection) => connection.query(statement, values), limit);
      if (row === undefined || flag(row, 'is_standby')) throw this.standbyError();
      this.#heard(row, number(row, 'heard_revision'), floor);
      if (!flag(row, 'has_expired')) return row;
      await this.#write(...nothing, limit);
    }
  }

  /** Runs one writing step. `look` only reads. */
  async write<T>(look: Statement, step: Step<T>): Promise<T> {
    using limit = this.#connections.limit();
    return await this.#write(look, step, limit);
  }

  /** Removes expired sessions, as every writing step does. */
  dropExpired(): Promise<void> {
    return this.write(...nothing);
  }

  /** Removes tickets as part of the caller's step. */
  deleteTickets(tickets: readonly Ticket[], { effects, send }: Transaction): void {
    if (tickets.length === 0) return;
    const tokens = tickets.map(({ token }) => token);
    send(`DELETE FROM ${this.tables.tickets} WHERE token = ANY($1::int8[])`, [tokens]);
    effects.removedTickets.push(...tickets.map(({ id, nonce }) => ({ id, nonce })));
  }

  /** Reads for a watcher, whose connection limits each statement itself. */
  async view<T>(read: () => Promise<T>): Promise<T> {
    using limit = this.#connections.limit();
    return await persist(read, limit);
  }

  /** Opens a connection for a watcher; `wake` reports changes. */
  async open(wake: (payload?: string) => void): Promise<Line> {
    using limit = this.#connections.limit();
    await this.#prepare(limit);
    const line = await this.#connections.open(wake);
    try {
      if (this.dialect.notifies) await line.query(`LISTEN ${this.tables.schema}`);
      return line;
    } catch (error) {
      await line[Symbol.asyncDispose]();
      throw error;
    }
  }

  standbyError(): StoreUnavailableError {
    return new StoreUnavailableError(
      `${this.server} can't be used: it is a standby, which may lag behind; connect to the primary`,
    );
  }

  async #write<T>(look: Statement, step: Step<T>, limit: TimeLimit): Promise<T> {
    using _ = await this.#turns.take(limit);
    const { outcome, isChange } = await this.#step(
      (connection) => rolledBack(this.#transact(connection, look, step), connection),
      limit,
    );
    if (isChange) this.onChange();
    return outcome;
  }

  async #step<T>(step: (connection: Connection) => Promise<T>, limit: TimeLimit): Promise<T> {
    await this.#prepare(limit);
    return await this.#connections.use((connection) => {
      this.signs.requireVerified(); // The connection may be new, and lead to another server.
      return persist(() => step(connection), limit);
    }, limit);
  }

  #heard(row: Row | undefined, revision: number, floor: number): void {
    const id = row?.history;
    this.signs.heard(typeof id === 'string' ? id : undefined, revision, floor);
  }

  async #transact<T>(
    connection: Connection,
    look: Statement,
    step: Step<T>,
  ): Promise<{ readonly outcome: T; readonly isChange: boolean }> {
    const { counter, sessions } = this.tables;
    // The second statement is sent before the first is answered.
    const [begun, looked] = await Promise.all([
      connection.script([
        `BEGIN ISOLATION LEVEL ${this.dialect.isolation}`,
        this.dialect.makeDurable,
        `SELECT revision FROM ${counter} WHERE id = 1 FOR UPDATE`,
        // A separate statement, which sees the commits for which the lock above had to wait.
        `SELECT EXISTS (SELECT 1 FROM ${sessions} WHERE ${this.isOver}) AS has_expired, ${this.historyId} AS history`,
      ]),
      connection.query(...look),
    ]);
    // Nobody has written since this client's last look, because the counter is locked.
    this.#heard(begun[3]?.[0], number(begun[2]?.[0], 'revision'), this.signs.revision);
    const sent: Promise<unknown>[] = [];
    const effects = new Effects(number(begun[2]?.[0], 'revision') + 1);
    const transaction: Transaction = {
      effects,
      send: (...statement) => sent.push(connection.query(...statement)),
    };
    const hasExpired = flag(begun[3]?.[0], 'has_expired');
    if (hasExpired) await this.#dropExpired(connection, transaction);
    const rows = hasExpired ? await connection.query(...look) : looked;
    const outcome = step(rows, transaction);
    const isChange = effects.hasAny();
    if (isChange) this.#log(transaction);
    sent.push(connection.script(isChange ? [...this.#notice(effects), 'COMMIT'] : ['COMMIT']));
    await Promise.all(sent);
    return { outcome, isChange };
  }

  /** Locks the sessions first, so that one that is just being renewed is not removed. */
  async #dropExpired(connection: Connection, transaction: Transaction): Promise<void> {
    const { sessions, tickets } = this.tables;
    const over = await connection.query(
      `SELECT id FROM ${sessions} WHERE ${this.isOver} FOR UPDATE`,
    );
    const ids = over.map((row) => text(row, 'id'));
    const theirs = await connection.query(
      `SELECT ticket FROM ${tickets} WHERE session = ANY($1::text[]) ORDER BY token`,
      [ids],
    );
    this.deleteTickets(theirs.map(toTicket), transaction);
    transaction.send(`DELETE FROM ${sessions} WHERE id = ANY($1::text[])`, [ids]);
  }

  #log({ effects, send }: Transaction): void {
    const { counter, changes } = this.tables;
    const { revision } = effects;
    send(`UPDATE ${counter} SET revision = $1 WHERE id = 1`, [revision]);
    send(`INSERT INTO ${changes} VALUES ($1, $2)`, [revision, JSON.stringify(effects)]);
    if (revision % revisionsPerTrim !== 0) return;
    send(`DELETE FROM ${changes} WHERE revision <= $1`, [revision - changesKept]);
  }

  #notice({ revision }: Effects): string[] {
    return this.dialect.notifies ? [`NOTIFY ${this.tables.schema}, '${revision}'`] : [];
  }

  /** Prepares the schema once per client; the next call retries after a failure. */
  #prepare(limit: TimeLimit): Promise<void> {
    this.#prepared ??= this.#connections
      .use((connection) => prepareSchema(connection, this.#schema, this.tables), limit)
      .catch((error) => {
        this.#prepared = undefined;
        throw error;
      });
    return limit.race(this.#prepared);
  }
}

/** Retries, while there is time, a step that the database rolled back because of others. */
async function persist<T>(step: () => Promise<T>, limit: TimeLimit): Promise<T> {
  for (let longestMs = 1; ; longestMs = Math.min(2 * longestMs, longestRetryPauseMs)) {
    try {
      return await step();
    } catch (error) {
      if (!isConflict(error) || limit.isOver) throw error;
    }
    await pause(Math.random() * longestMs);
  }
}

const nothing: [Statement, Step<void>] = [['SELECT 1', []], () => {}];
