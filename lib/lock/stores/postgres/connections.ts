import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import createDebug from 'debug';
import type { ClientBase, ClientConfig } from 'pg';
import pg from 'pg';
import { StoreUnavailableError } from '../../errors.ts';
import type { Dialect } from './dialect.ts';
import { explainPostgres } from './postgres-errors.ts';
import { TimeLimit } from './time-limit.ts';

const log = createDebug('berth:postgres');

/** Steps that write take turns, so more would only help those that read. */
const MAX_CONNECTIONS = 4;
/** How long a client may stop in the middle of a step, keeping all others waiting. */
const LONGEST_STOP_MS = 1000;
/** How long the server may take to say goodbye. */
const GOODBYE_MS = 500;

export interface ConnectionOptions {
  /**
   * `postgres://user:password@host:port/database`, with libpq's parameters (`?sslmode=verify-full`).
   * What it has wins over the single options.
   */
  readonly url?: string | undefined;
  /** A name, an address, or the directory of a socket. */
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly database?: string | undefined;
  /** `true`: TLS with a certificate that the system's roots vouch for. Off when left out. */
  readonly ssl?: boolean | PostgresTls | undefined;
  /** How long one step may take, from the call to the answer. Default 2,000. */
  readonly callTimeoutMs?: number | undefined;
}

/** PEM contents. Without `ca` the system's roots are trusted. */
export interface PostgresTls {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

export type Row = Readonly<Record<string, unknown>>;

/** One connection. What it rejects with is explained for people; see postgres-errors.ts. */
export interface Connection {
  /** One statement, its values apart from it; answers its rows. */
  query(statement: string, values?: readonly unknown[]): Promise<readonly Row[]>;
  /** Several statements without values in one round trip; answers the rows of each. */
  script(statements: readonly string[]): Promise<readonly (readonly Row[])[]>;
}

/** As `step`; when that fails, no transaction is left open on its connection. */
export async function rolledBack<T>(step: Promise<T>, connection: Connection): Promise<T> {
  try {
    return await step;
  } catch (error) {
    // Should this fail, the connection is broken, and the server undoes the step by itself.
    await connection.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

/** A connection for one user, open until it is disposed of. */
export interface Line extends Connection, AsyncDisposable {}

/**
 * The connections to one database; the only file that imports pg. Every call has a limit, after
 * which its connection is thrown away: whatever it waits for, it can't hang a caller.
 */
export class Connections implements AsyncDisposable {
  /** Which database, for people. Without the password. */
  readonly server: string;
  readonly callTimeoutMs: number;
  readonly #config: ClientConfig;
  readonly #pool: pg.Pool;
  readonly #sockets = new Set<Socket>();
  #isClosed = false;

  /** Throws RangeError when the URL can't be read. */
  constructor(options: ConnectionOptions, dialect: Dialect) {
    this.callTimeoutMs = options.callTimeoutMs ?? 2000;
    this.#config = this.#configOf(options, dialect);
    this.server = `${dialect.product} at ${placeOf(this.#config)}`;
    this.#pool = new pg.Pool({ ...this.#config, max: MAX_CONNECTIONS });
    // The pool has thrown it away already; whoever needs one is told why it can't be had.
    this.#pool.on('error', (error) => log('idle connection lost: %s', error.message));
  }

  /**
   * Runs `work` on a connection of the pool. Rejects with `StoreUnavailableError` when there is no
   * connection, or when the limit passes first; then anything may have happened.
   */
  async use<T>(
    work: (connection: Connection, limit: TimeLimit) => Promise<T>,
    limit: TimeLimit,
  ): Promise<T> {
    const client = await this.#borrow(limit);
    let isReusable = false;
    try {
      const result = await limit.race(work(this.#connection(client), limit));
      isReusable = true;
      return result;
    } catch (error) {
      isReusable = !limit.isOver && client.getTransactionStatus() === 'I';
      throw error;
    } finally {
      client.release(!isReusable);
    }
  }

  /** The time for one call. */
  limit(): TimeLimit {
    return new TimeLimit(this.callTimeoutMs, () => this.#late());
  }

  /** Opens one more connection. `wake` is called for each notification, and when it breaks. */
  async open(wake: (payload?: string) => void): Promise<Line> {
    const client = new pg.Client(this.#config);
    const close = () => this.#close(client.end());
    client.on('error', () => wake());
    client.on('end', () => wake());
    client.on('notification', ({ payload }) => wake(payload));
    try {
      using limit = this.limit();
      await limit.race(this.#explaining(client.connect()));
    } catch (error) {
      void close();
      throw error;
    }
    const connection = this.#connection(client);
    const limited = async <T>(work: () => Promise<T>): Promise<T> => {
      using limit = this.limit();
      return await limit.race(work());
    };
    return {
      query: (...statement) => limited(() => connection.query(...statement)),
      script: (statements) => limited(() => connection.script(statements)),
      [Symbol.asyncDispose]: close,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#close(this.#pool.end());
    for (const socket of this.#sockets) socket.destroy();
  }

  async #borrow(limit: TimeLimit): Promise<pg.PoolClient> {
    if (this.#isClosed) throw new StoreUnavailableError(`${this.server} is not used any more`);
    const pending = this.#explaining(this.#pool.connect());
    try {
      return await limit.race(pending);
    } catch (error) {
      pending.then(
        (client) => client.release(),
        () => {},
      );
      throw error;
    }
  }

  #connection(client: ClientBase): Connection {
    return {
      query: async (statement, values = []) => {
        const sent = client.query(statement, [...values]);
        return (await this.#explaining(sent)).rows;
      },
      script: async (statements) => {
        const sent = client.query(statements.join('; '));
        // One statement answers itself, several a list: pg's types know of the former only.
        return [await this.#explaining(sent)].flat().map(({ rows }) => rows);
      },
    };
  }

  async #explaining<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw explainPostgres(error, this.server);
    }
  }

  /** A server that is frozen never says goodbye, and a socket keeps the process alive. */
  async #close(goodbye: Promise<void>): Promise<void> {
    const isOver = new AbortController();
    const enough = pause(GOODBYE_MS, undefined, { signal: isOver.signal }).catch(() => {});
    await Promise.race([goodbye.catch(() => {}), enough]);
    isOver.abort();
  }

  #late(): Error {
    const seconds = this.callTimeoutMs / 1000;
    return new StoreUnavailableError(
      `${this.server} can't be used: it did not answer within ${seconds} s`,
    );
  }

  #configOf(options: ConnectionOptions, dialect: Dialect): ClientConfig {
    const { url, host, port, user, password, database, ssl } = options;
    return {
      connectionString: url,
      host,
      port,
      user,
      password,
      database,
      ssl,
      application_name: 'berth',
      keepAlive: true,
      keepAliveInitialDelayMillis: 5000,
      connectionTimeoutMillis: this.callTimeoutMs,
      // The server's own limits: a step that its client has given up is not to keep others waiting.
      statement_timeout: this.callTimeoutMs,
      lock_timeout: this.callTimeoutMs,
      idle_in_transaction_session_timeout: LONGEST_STOP_MS,
      options: `-c default_transaction_isolation=${dialect.isolation.replace(' ', '\\ ')}`,
      stream: () => {
        const socket = new Socket();
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
        return socket;
      },
    };
  }
}

/** The library's own reading of the settings, which takes the environment's for what is left out. */
function placeOf(config: ClientConfig): string {
  try {
    const { host, port, database, user } = new pg.Client(config);
    return `${host}:${port} (database ${database}, user ${user})`;
  } catch {
    // Its error quotes the URL, with the password.
    throw new RangeError(
      "the URL of the lock store can't be read; it is to be like postgres://user:password@host:5432/database",
    );
  }
}
