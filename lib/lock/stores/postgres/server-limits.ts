import type { Dialect } from './dialect.ts';
import { isUnknownParameter } from './postgres-errors.ts';

/** The longest pause of a client within a step, during which all others wait. */
const longestStopMs = 1000;

interface Parameters {
  readonly statement_timeout: number;
  readonly lock_timeout: number;
  readonly idle_in_transaction_session_timeout: number;
  readonly options: string;
}

/**
 * The server's own limits of a connection, so that a step that its client has given up blocks nobody. They are
 * parameters of the connection. A pooler may refuse those that it does not know: then they are set by a statement
 * on each connection, before any other.
 */
export class ServerLimits {
  readonly #parameters: Parameters;
  readonly #statements: string;
  readonly #done = new WeakSet<object>();
  #isRefused = false;

  constructor(callTimeoutMs: number, { isolation }: Dialect, options = '') {
    this.#parameters = {
      statement_timeout: callTimeoutMs,
      lock_timeout: callTimeoutMs,
      idle_in_transaction_session_timeout: longestStopMs,
      options:
        `${options} -c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`.trim(),
    };
    this.#statements = [
      `SET statement_timeout = ${callTimeoutMs}`,
      `SET lock_timeout = ${callTimeoutMs}`,
      `SET idle_in_transaction_session_timeout = ${longestStopMs}`,
      `SET default_transaction_isolation = '${isolation}'`,
    ].join('; ');
  }

  /** The parameters of a new connection. */
  get parameters(): Partial<Parameters> {
    return this.#isRefused ? {} : this.#parameters;
  }

  /** Connects; once more, without the parameters, if a pooler refuses one of them. */
  async connecting<T>(connect: () => Promise<T>): Promise<T> {
    try {
      return await connect();
    } catch (error) {
      if (!isUnknownParameter(error)) throw error;
      this.#isRefused = true;
      return await connect();
    }
  }

  /** Sets the limits on a connection whose parameters did not. */
  async apply(client: { query(text: string): Promise<unknown> }): Promise<void> {
    if (!this.#isRefused || this.#done.has(client)) return;
    await client.query(this.#statements);
    this.#done.add(client);
  }
}
