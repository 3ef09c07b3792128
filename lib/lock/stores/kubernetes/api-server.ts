import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { messageOf } from '../../../running/message-of.ts';
import { StoreUnavailableError } from '../../errors.ts';
import type { Api, Call, Method, WatchEvent } from './api.ts';
import { explainAnswer } from './api-errors.ts';

export interface ApiServerOptions {
  /** The URL of the API server; it may have a path, behind a proxy. */
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

const defaultTimeoutMs = 2_000;

/** An API server, over connections that are kept. */
export class ApiServer implements Api {
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
    const text = await this.#answered(() => textOf(answer), signal);
    this.#requireSuccess(answer, text, method, path);
    return this.#answered(async () => JSON.parse(text) as T, signal);
  }

  async watch(
    path: string,
    onEvent: (event: WatchEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const answer = await this.#send('GET', path, signal, 'application/json');
    if (answer.statusCode !== 200) {
      const text = await this.#answered(() => textOf(answer), signal);
      this.#requireSuccess(answer, text, 'GET', path);
    }
    await this.#answered(async () => {
      let rest = '';
      // Not readline: after an error of `onEvent` it goes on reading, and emits the stream's error, which ends the process.
      for await (const part of answer.setEncoding('utf8')) {
        const lines = `${rest}${part}`.split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) onEvent(JSON.parse(line) as WatchEvent);
      }
    }, signal);
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
        new URL(server.replace(/\/$/, '') + path),
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
    }, signal);
  }

  async #answered<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof StoreUnavailableError) throw cause;
      const { server } = this.#options;
      // The error of the request only says that it was aborted.
      const why = signal.aborted ? 'no answer in time' : messageOf(cause);
      throw new StoreUnavailableError(`the API server ${server} does not answer: ${why}`, {
        cause,
      });
    }
  }

  #requireSuccess(
    { statusCode: status = 0 }: IncomingMessage,
    text: string,
    method: Method,
    path: string,
  ): void {
    if (status >= 200 && status < 300) return;
    throw explainAnswer(status, text, {
      server: this.#options.server,
      what: `${method} ${path.split('?')[0]}`,
    });
  }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let whole = '';
  for await (const part of answer.setEncoding('utf8')) whole += part;
  return whole;
}
