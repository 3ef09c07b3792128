import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import { messageOf } from '../../../running/message-of.ts';
import { StoreUnavailableError } from '../../errors.ts';
import type { ApiFailure } from './api-errors.ts';
import { explainAnswer } from './api-errors.ts';

export interface ApiServerOptions {
  /** The URL of the API server. */
  readonly server: string;
  /** A bearer token; or a file with one, which is read again for each call, as tokens are replaced. */
  readonly token?: string;
  readonly tokenFile?: string;
  /** PEM: the authority of the server's certificate, and a client certificate with its key. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The time that a call may take; 2 s by default. */
  readonly callTimeoutMs?: number;
}

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

export interface Call {
  readonly body?: unknown;
  /** The kind of a PATCH: fields that replace others, or a list of operations. */
  readonly patch?: 'merge' | 'json';
}

/** The parts of an object of the API server that every kind has. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: ApiObject;
}

const defaultTimeoutMs = 2_000;

/**
 * The calls to an API server that the store needs, over connections that are kept. Rejects with
 * `StoreUnavailableError` when the server does not answer, with `StoreRefusedError` when it denies
 * access, and with `ApiFailure` for the answers that the caller decides on (404, 409, 410, 422).
 */
export class ApiServer implements Disposable {
  readonly #options: ApiServerOptions;
  readonly #agent: HttpAgent;
  readonly #request: typeof httpsRequest;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    const { ca, cert, key } = options;
    const isPlain = new URL(options.server).protocol === 'http:';
    this.#request = isPlain ? httpRequest : httpsRequest;
    this.#agent = isPlain
      ? new HttpAgent({ keepAlive: true })
      : new HttpsAgent({
          keepAlive: true,
          ...(ca !== undefined && { ca }),
          ...(cert !== undefined && { cert }),
          ...(key !== undefined && { key }),
        });
  }

  async call<T>(method: Method, path: string, { body, patch }: Call = {}): Promise<T> {
    const signal = AbortSignal.timeout(this.#options.callTimeoutMs ?? defaultTimeoutMs);
    const type = `application/${patch ? (patch === 'merge' ? 'merge-patch+json' : 'json-patch+json') : 'json'}`;
    const answer = await this.#send(method, path, signal, type, body);
    const text = await this.#answered(async () => {
      let whole = '';
      for await (const part of answer.setEncoding('utf8')) whole += part;
      return whole;
    });
    return this.#parsed<T>(answer.statusCode ?? 0, text, method, path);
  }

  /** Calls `onEvent` for each event until the server ends the watch, or the signal aborts. */
  async watch(
    path: string,
    onEvent: (event: WatchEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const answer = await this.#send('GET', path, signal, 'application/json');
    await this.#answered(async () => {
      const lines = createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY });
      for await (const line of lines) {
        if ((answer.statusCode ?? 0) >= 400) throw new Error(line);
        onEvent(JSON.parse(line) as WatchEvent);
      }
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #send(
    method: Method,
    path: string,
    signal: AbortSignal,
    type: string,
    body?: unknown,
  ): Promise<IncomingMessage> {
    const { server, token, tokenFile } = this.#options;
    const text = body === undefined ? undefined : JSON.stringify(body);
    return this.#answered(async () => {
      const bearer = tokenFile === undefined ? token : (await readFile(tokenFile, 'utf8')).trim();
      const answered = Promise.withResolvers<IncomingMessage>();
      const request = this.#request(
        new URL(path, server),
        {
          method,
          agent: this.#agent,
          signal,
          headers: {
            accept: 'application/json',
            // Node sends no length by itself with a DELETE.
            ...(text !== undefined && {
              'content-type': type,
              'content-length': Buffer.byteLength(text),
            }),
            ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
          },
        },
        answered.resolve,
      );
      request.on('error', answered.reject);
      request.end(text);
      return answered.promise;
    });
  }

  async #answered<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      const { server } = this.#options;
      const why = (cause as Error).name === 'TimeoutError' ? 'no answer in time' : messageOf(cause);
      throw new StoreUnavailableError(`the API server ${server} does not answer: ${why}`, {
        cause,
      });
    }
  }

  #parsed<T>(status: number, text: string, method: Method, path: string): T {
    if (status >= 200 && status < 300) return JSON.parse(text) as T;
    const failure: ApiFailure | Error = explainAnswer(status, text, {
      server: this.#options.server,
      what: `${method} ${path.split('?')[0]}`,
    });
    throw failure;
  }
}
