import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import createDebug from 'debug';
import type { ClientBase, ClientConfig } from 'pg';
import pg from 'pg';
import { StoreUnavailableError } from '../../errors.ts';
import type { ConnectionOptions, PostgresPool } from './connection-options.ts';
import type { Dialect } from './dialect.ts';
import { explainPostgres, isUnknownStatement } from './postgres-errors.ts';
import { PreparedStatements } from './prepared-statements.ts';
import { ServerLimits } from './server-limits.ts';
import { TimeLimit } from './time-limit.ts';

const log = createDebug('berth:postgres');

/** The size of the pool. Writing steps share a connection, so more would only help readers. */
const maxConnections = 4;
/** How long the server may take to close a connection. */
const closeLimitMs = 500;

export type Row = Readonly<Record<string, unknown>>;

/** One connection. It rejects with errors for people; see postgres-errors.ts. */
export interface Connection {
  /**
   * Runs one statement; returns its rows. Sent at once, without waiting for others. With values, its text is one of
   * a fixed set, because the server keeps each prepared.
   */
  query(statement: string, values?: readonly unknown[]): Promise<readonly Row[]>;
  /** Runs several statements without values in one round trip; returns the rows of each. */
  script(statements: readonly string[]): Promise<readonly (readonly Row[])[]>;
}

/** Runs `step`; if it fails, leaves no transaction open on the connection. */
export async function rolledBack<T>(step: Promise<T>, connection: Connection): Promise<T> {
  try {
    return await step;
  } catch (error) {
    // If this fails, the connection is broken, and the server rolls the step back itself.
    await connection.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

/** A connection for one user, open until disposed. */
export interface Line extends Connection, AsyncDisposable {}

/**
 * The connections to one database; the only file that imports pg. Every call has a limit, after
 * which its connection is closed, so that no call hangs.
 */
export class Connections implements AsyncDisposable {
  /** The database's address for people, without the password. */
  readonly server: string;
  readonly callTimeoutMs: number;
  /** Called when a connection is opened: it may lead to another server than before. Must not throw. */
  onConnect: () => void = () => {};
  readonly #Client: new () => pg.Client;
  readonly #pool: pg.Pool;
  readonly #limits: ServerLimits;
  readonly #statements = new PreparedStatements();
  readonly #sockets = new Map<ClientBase, Duplex>();
  /** The error that broke a connection: its statements only say that it is broken. */
  readonly #failures = new WeakMap<ClientBase, Error>();
  #isClosed = false;

  /** Throws RangeError for a malformed URL. */
  constructor(options: ConnectionOptions, dialect: Dialect) {
    this.callTimeoutMs = options.callTimeoutMs ?? 2000;
    const config = configOf(options, this.callTimeoutMs);
    this.#limits = new ServerLimits(this.callTimeoutMs, dialect, config.options);
    this.server = `${dialect.product} at ${placeOf(config)}`;
    this.#Client = clientClass(config, this.#limits, this.#sockets);
    this.#pool = new pg.Pool({
      Client: this.#Client,
      max: maxConnections,
      connectionTimeoutMillis: this.callTimeoutMs,
    });
    this.#pool.on('connect', (client) => {
      this.onConnect();
      this.#listen(client);
    });
    // The pool has already removed the connection; the next call reports the fault.
    this.#pool.on('error', (error) => log('idle connection lost: %s', error.message));
  }

  /**
   * Runs `work` on a connection of the pool. Rejects with `StoreUnavailableError` if there is no
   * connection, or if the limit passes first; then the outcome is unknown.
   */
  async use<T>(
    work: (connection: Connection, limit: TimeLimit) => Promise<T>,
    limit: TimeLimit,
  ): Promise<T> {
    const client = await this.#borrow(limit);
    let isReusable = false;
    try {
      await limit.race(this.#explaining(this.#limits.apply(client), client));
      const result = await limit.race(work(this.#connection(client), limit));
      isReusable = true;
      return result;
    } catch (error) {
      isReusable = !limit.isOver && client.getTransactionStatus() === 'I';
      throw error;
    } finally {
      if (!isReusable) this.#sockets.get(client)?.destroy();
      client.release(!isReusable);
    }
  }

  /** Starts the time limit of one call. */
  limit(): TimeLimit {
    return new TimeLimit(this.callTimeoutMs, () => this.#late());
  }

  /** Opens one more connection. Calls `wake` for each notification, and when it breaks. */
  open(wake: (payload?: string) => void): Promise<Line> {
    return this.#limits.connecting(() => this.#open(wake));
  }

  async #open(wake: (payload?: string) => void): Promise<Line> {
    const client = new this.#Client();
    const close = async () => {
      await this.#closeInTime(client.end());
      this.#sockets.get(client)?.destroy();
    };
    this.#listen(client);
    client.on('end', () => wake());
    client.on('notification', ({ payload }) => wake(payload));
    try {
      using limit = this.limit();
      await limit.race(this.#explaining(client.connect(), client));
      await limit.race(this.#explaining(this.#limits.apply(client), client));
      this.onConnect();
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
    await this.#closeInTime(this.#pool.end());
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  async #borrow(limit: TimeLimit): Promise<pg.PoolClient> {
    if (this.#isClosed) throw new StoreUnavailableError(`the store on ${this.server} is closed`);
    const pending = this.#limits.connecting(() => this.#explaining(this.#pool.connect()));
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
      query: (statement, values = []) =>
        awaitedOrNot(async () => {
          const sent = client.query({
            ...this.#statements.named(statement, values),
            values: [...values],
          });
          return (await this.#explaining(sent, client)).rows;
        }),
      script: (statements) =>
        awaitedOrNot(async () => {
          const sent = client.query(statements.join('; '));
          // One statement gives one result, several give a list; pg's types know only the former.
          return [await this.#explaining(sent, client)].flat().map(({ rows }) => rows);
        }),
    };
  }

  /** Handles an error between two statements, which would else end the process. */
  #listen(client: ClientBase): void {
    client.on('error', (error) => {
      if (!this.#failures.has(client)) this.#failures.set(client, error);
    });
  }

  async #explaining<T>(work: Promise<T>, client?: ClientBase): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (isUnknownStatement(error)) this.#statements.giveUp();
      const failure = client && this.#failures.get(client);
      throw explainPostgres(failure ?? error, this.server);
    }
  }

  /** Waits for a connection to close, but not long, because a frozen server never answers. */
  async #closeInTime(closing: Promise<void>): Promise<void> {
    const isOver = new AbortController();
    const enough = pause(closeLimitMs, undefined, { signal: isOver.signal }).catch(() => {});
    await Promise.race([closing.catch(() => {}), enough]);
    isOver.abort();
  }

  #late(): Error {
    const seconds = this.callTimeoutMs / 1000;
    return new StoreUnavailableError(
      `${this.server} can't be used: it did not answer within ${seconds} s`,
    );
  }
}

/**
 * Returns the answer to a statement. A step sends statements together, and fails with the first that
 * fails: nobody awaits the others any more, and their rejections must not end the process.
 */
function awaitedOrNot<T>(send: () => Promise<T>): Promise<T> {
  const answer = send();
  answer.catch(() => {});
  return answer;
}

/** A client whose socket can be destroyed at any time. */
function clientClass(
  config: ClientConfig,
  limits: ServerLimits,
  sockets: Map<ClientBase, Duplex>,
): new () => pg.Client {
  return class extends pg.Client {
    constructor() {
      const socket = config.stream?.() ?? new Socket();
      super({ ...config, ...limits.parameters, stream: () => socket });
      sockets.set(this, socket);
      socket.once('close', () => sockets.delete(this));
    }
  };
}

function configOf(
  { url, host, port, user, password, database, ssl, pool }: ConnectionOptions,
  callTimeoutMs: number,
): ClientConfig {
  const own = { connectionString: url, host, port, user, password, database, ssl };
  const place: ClientConfig = pool ? placeIn(pool) : own;
  return {
    ...place,
    application_name: 'berth',
    pipeline: true,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
    connectionTimeoutMillis: callTimeoutMs,
  };
}

/**
 * Returns what the settings of a pool say of the server and of the way to it, and nothing of how its
 * owner's statements are limited and their values parsed. Some of the settings can't be listed.
 */
function placeIn({ options: settings }: PostgresPool): ClientConfig {
  const given: ClientConfig = settings;
  const { connectionString, host, port, user, password, database, ssl, options } = given;
  const place = { connectionString, host, port, user, password, database, ssl, options };
  return given.stream ? { ...place, stream: given.stream } : place;
}

/** Parses the settings as the library does, with the environment's values for omitted ones. */
function placeOf(config: ClientConfig): string {
  const { connectionString: url } = config;
  try {
    // The library accepts any text, and would read a password as a name.
    if (url !== undefined && !/^postgres(ql)?:/.test(new URL(url).protocol)) throw new Error();
    const { host, port, database, user } = new pg.Client({ ...config, stream: () => new Socket() });
    return `${host}:${port} (database ${database}, user ${user})`;
  } catch {
    // Its error quotes the URL, with the password.
    throw new RangeError(
      "the URL of the lock store can't be read; it must look like postgres://user:password@host:5432/database, with odd characters as %40",
    );
  }
}
