import { setTimeout as pause } from 'node:timers/promises';
import { StoreUnavailableError } from '../../errors.ts';
import type { Ticket } from '../../ticket.ts';
import type { Touches } from '../touches.ts';
import { Changes } from './changes.ts';
import type { Connection, Connections, Line, Row } from './connections.ts';
import { rolledBack } from './connections.ts';
import type { Dialect } from './dialect.ts';
import { isConflict } from './postgres-errors.ts';
import { flag, number, text, toTicket } from './rows.ts';
import type { Tables } from './schema.ts';
import { prepareSchema, tablesIn } from './schema.ts';
import { PostgresSigns } from './signs.ts';
import type { TimeLimit } from './time-limit.ts';
import { wavesOf } from './waves.ts';
import type { Statement, Step, TakenStep, Transaction, WaitingStep } from './write-steps.ts';
import { WriteSteps } from './write-steps.ts';

const longestRetryPauseMs = 20;

/**
 * The tables in one schema. The writing steps that wait share a transaction, repeated if the database rolls
 * it back because of others. It has a round trip for each wave of steps that are independent (waves.ts), in
 * which they read, and one for the writes; a wave sees the writes of those before. A step that changes tickets,
 * records or gates raises the revision by one and adds a row that tells watchers of the change.
 *
 * Each transaction first removes expired sessions with their tickets. Only the database's clock decides
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
  readonly #steps = new WriteSteps((steps) => this.#commit(steps));
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
      await this.#steps.run(...nothing, limit);
    }
  }

  /** Takes one writing step. `look` only reads; without `touches` the step depends on all others. */
  async write<T>(look: Statement, step: Step<T>, touches?: Touches): Promise<T> {
    using limit = this.#connections.limit();
    return await this.#steps.run(look, step, touches, limit);
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

  /** Takes steps in one transaction and tells their callers; never rejects. */
  async #commit(steps: readonly WaitingStep[]): Promise<void> {
    using limit = this.#connections.limit();
    try {
      const { taken, isChange } = await this.#step(
        (connection) => rolledBack(this.#transact(connection, steps), connection),
        limit,
      );
      if (isChange) this.onChange();
      for (const { tell } of taken) tell();
    } catch (error) {
      const isRefused = !(error instanceof StoreUnavailableError);
      // The database has refused a statement, of one of the steps, and has rolled back all of them.
      if (isRefused && steps.length > 1) await this.#commitEach(steps);
      else for (const { fail } of steps) fail(error);
    }
  }

  async #commitEach(steps: readonly WaitingStep[]): Promise<void> {
    for (const step of steps) if (!step.limit.isOver) await this.#commit([step]);
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

  async #transact(
    connection: Connection,
    steps: readonly WaitingStep[],
  ): Promise<{ readonly taken: readonly TakenStep[]; readonly isChange: boolean }> {
    const { counter, sessions } = this.tables;
    const waves = wavesOf(steps);
    const looks = (index: number) =>
      (waves[index] ?? []).map(({ look }) => connection.query(...look));
    // The first looks are sent before the first statement is answered.
    const [begun, ...first] = await Promise.all([
      connection.script([
        `BEGIN ISOLATION LEVEL ${this.dialect.isolation}`,
        this.dialect.makeDurable,
        `SELECT revision FROM ${counter} WHERE id = 1 FOR UPDATE`,
        // A separate statement, which sees the commits for which the lock above had to wait.
        `SELECT EXISTS (SELECT 1 FROM ${sessions} WHERE ${this.isOver}) AS has_expired, ${this.historyId} AS history`,
      ]),
      ...looks(0),
    ]);
    const revision = number(begun[2]?.[0], 'revision');
    // Nobody has written since this client's last look, because the counter is locked.
    this.#heard(begun[3]?.[0], revision, this.signs.revision);
    const changes = new Changes(connection, revision);
    let looked: readonly (readonly Row[])[] | undefined = first;
    if (flag(begun[3]?.[0], 'has_expired')) {
      await this.#dropExpired(connection, changes);
      looked = undefined;
    }
    const taken: TakenStep[] = [];
    for (const [index, wave] of waves.entries()) {
      const rows = looked ?? (await changes.before(looks(index)));
      looked = undefined;
      for (const [place, step] of wave.entries()) {
        taken.push(changes.take((transaction) => step.take(rows[place] ?? [], transaction)));
      }
    }
    await changes.commit(this.tables, this.dialect);
    return { taken, isChange: changes.revision > revision };
  }

  /** Locks the sessions first, so that one that is just being renewed is not removed. */
  async #dropExpired(connection: Connection, changes: Changes): Promise<void> {
    const { sessions, tickets } = this.tables;
    const over = await connection.query(
      `SELECT id FROM ${sessions} WHERE ${this.isOver} FOR UPDATE`,
    );
    const ids = over.map((row) => text(row, 'id'));
    const theirs = await connection.query(
      `SELECT ticket FROM ${tickets} WHERE session = ANY($1::text[]) ORDER BY token`,
      [ids],
    );
    changes.take((transaction) => {
      this.deleteTickets(theirs.map(toTicket), transaction);
      transaction.send(`DELETE FROM ${sessions} WHERE id = ANY($1::text[])`, [ids]);
      return { isDone: true };
    });
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

const nothing: [Statement, Step<void>, Touches] = [
  ['SELECT 1', []],
  () => {},
  { reads: [], writes: [] },
];
