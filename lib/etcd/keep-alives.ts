import { callError, EtcdCallError } from './errors.ts';
import type { AnswerHeader, EtcdHeaders } from './headers.ts';

/**
 * The keep-alive stream of all leases. It ends at the first missing answer: a late answer could not
 * be told from the answer to the next beat.
 */
export class KeepAlives {
  readonly #stream: KeepAliveStream;
  readonly #timeoutMs: number;
  /** The beats without an answer so far, by lease; etcd answers in order for each lease. */
  readonly #waiting = new Map<string, PromiseWithResolvers<number>[]>();
  readonly #headers: EtcdHeaders;
  readonly #onEnd: () => void;
  #ended = false;

  constructor(stream: KeepAliveStream, timeoutMs: number, headers: EtcdHeaders, onEnd: () => void) {
    this.#stream = stream;
    this.#timeoutMs = timeoutMs;
    this.#headers = headers;
    this.#onEnd = onEnd;
    stream.on('data', ({ header, ID, TTL }) => {
      headers.heard(header, 0);
      this.#waiting.get(ID)?.shift()?.resolve(Number(TTL));
    });
    stream.on('error', (error) => this.end(callError(error)));
    stream.on('end', () => this.end(new EtcdCallError('the keep-alive stream ended')));
  }

  async beat(id: string): Promise<number> {
    const answer = Promise.withResolvers<number>();
    const waiting = this.#waiting.get(id) ?? [];
    waiting.push(answer);
    this.#waiting.set(id, waiting);
    const timer = setTimeout(
      () => this.end(new EtcdCallError('etcd did not answer a keep-alive in time')),
      this.#timeoutMs,
    );
    try {
      this.#stream.write({ ID: id });
      return await answer.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#headers.suspect();
    this.#onEnd();
    this.#stream.cancel();
    for (const answer of [...this.#waiting.values()].flat()) answer.reject(error);
    this.#waiting.clear();
  }
}

/** The part of etcd3's stream that is used here. */
export interface KeepAliveStream {
  on(event: 'data', listener: (answer: Beat) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  write(request: { ID: string }): unknown;
  cancel(): void;
}

interface Beat {
  readonly header?: AnswerHeader;
  readonly ID: string;
  readonly TTL: string;
}
