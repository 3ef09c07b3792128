import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { descriptorOf } from '../lib/linux/socket-descriptor.ts';
import type {
  Failure,
  FailureReply,
  LongWorkEvent,
  LongWorkStep,
} from '../plugin/admin/api/long-work.ts';

// An `import` of it by name loads more than it needs (lib/linux/unix-call.ts), before each command.
const { request } = process.getBuiltinModule('node:http');

/** The daemon refused a request, or failed to execute it. */
export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly failure: Failure;
  /** The advice of a command that knows better than the code of the failure. */
  readonly next: readonly string[] | undefined;
  constructor(failure: Failure, next?: readonly string[]) {
    super(failure.message);
    this.failure = failure;
    this.next = next;
  }
}

/** No daemon answers on the admin socket, or the daemon stopped before the end of its answer. */
export class DaemonUnavailableError extends Error {
  override readonly name = 'DaemonUnavailableError';
  readonly socketPath: string;
  /**
   * The system's error code (`ENOENT`, `ECONNREFUSED`, `EACCES`, `ECONNRESET`), or a description.
   */
  readonly reason: string;
  constructor(socketPath: string, reason: string, cause?: unknown) {
    super(`no daemon answers on ${socketPath} (${reason})`, { cause });
    this.socketPath = socketPath;
    this.reason = reason;
  }
}

export interface WorkOptions {
  readonly signal?: AbortSignal;
  readonly onConnected?: (descriptor: number) => void;
}

/** A client of a daemon's admin socket. Rejects only with AdminError or DaemonUnavailableError. */
export class AdminClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** Gets a reply. The caller names its type, from plugin/admin/api: both are of one release. */
  async get<T extends object>(path: string): Promise<T> {
    return this.#parse<T>(await this.#whole(await this.#send('GET', path)));
  }

  async post<T extends object>(path: string, body: object): Promise<T> {
    return this.#parse<T>(await this.#whole(await this.#send('POST', path, body)));
  }

  /**
   * Starts a long operation and yields its events until it is done. Leaving the loop, or aborting
   * the signal, closes the connection, which ends the operation in the daemon. `onConnected` gets the
   * connection's descriptor: a process that inherits it keeps the connection open.
   */
  async *work<T extends object>(
    method: 'POST' | 'DELETE',
    path: string,
    body: object = {},
    { signal, onConnected }: WorkOptions = {},
  ): AsyncGenerator<LongWorkStep<T>, void> {
    const response = await this.#send(method, path, body, signal);
    onConnected?.(connectionOf(response));
    for await (const event of this.#lines<LongWorkEvent<T>>(response)) {
      if (event.event === 'error') throw new AdminError(event);
      yield event;
      if (event.event === 'done') return;
    }
    throw new DaemonUnavailableError(this.#socketPath, 'it stopped before the end');
  }

  /** Yields events until the daemon stops. It always ends that way, with an error. */
  async *follow<T extends object>(path: string): AsyncGenerator<T, void> {
    yield* this.#lines<T>(await this.#send('GET', path));
    throw new DaemonUnavailableError(this.#socketPath, 'it stopped');
  }

  async *#lines<T extends object>(response: IncomingMessage): AsyncGenerator<T, void> {
    try {
      for await (const line of createInterface({ input: response })) yield this.#parse<T>(line);
    } catch (error) {
      throw isOurs(error) ? error : this.#unavailable(error);
    } finally {
      response.destroy();
    }
  }

  async #send(
    method: string,
    path: string,
    body?: object,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    const json = body === undefined ? '' : JSON.stringify(body);
    const outgoing = request({
      socketPath: this.#socketPath,
      method,
      path: `/v1${path}`,
      // Node sends the body of a DELETE only if the header gives its length.
      headers: { 'Content-Length': Buffer.byteLength(json) },
      agent: false,
      ...(signal && { signal }),
    });
    outgoing.end(json);
    let response: IncomingMessage;
    try {
      [response] = await once(outgoing, 'response');
    } catch (error) {
      throw this.#unavailable(error);
    }
    // If the connection breaks later, reading the response fails.
    outgoing.on('error', () => undefined);
    if (response.statusCode === 200) return response;
    const { error } = this.#parse<Partial<FailureReply>>(await this.#whole(response));
    throw error?.code === undefined ? this.#notBerth() : new AdminError(error);
  }

  async #whole(response: IncomingMessage): Promise<string> {
    try {
      return await text(response);
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  #parse<T extends object>(json: string): T {
    try {
      return JSON.parse(json) as T;
    } catch (error) {
      throw this.#notBerth(error);
    }
  }

  #notBerth(cause?: unknown): DaemonUnavailableError {
    return new DaemonUnavailableError(
      this.#socketPath,
      'the program that answers is not berth',
      cause,
    );
  }

  #unavailable(error: unknown): DaemonUnavailableError {
    const hasCode = typeof error === 'object' && error !== null && 'code' in error;
    return new DaemonUnavailableError(
      this.#socketPath,
      hasCode ? String(error.code) : String(error),
      error,
    );
  }
}

function connectionOf({ socket }: IncomingMessage): number {
  const descriptor = descriptorOf(socket);
  if (descriptor !== undefined) return descriptor;
  throw new Error('this version of node does not tell the descriptor of a connection');
}

function isOurs(error: unknown): boolean {
  return error instanceof AdminError || error instanceof DaemonUnavailableError;
}

/** Encodes names into a path. */
export function path(strings: TemplateStringsArray, ...names: string[]): string {
  return String.raw({ raw: strings }, ...names.map(encodeURIComponent));
}
