import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Clock } from '../../lib/running/clock.ts';

export interface WaitUntilReadyOptions {
  readonly limitMs: number;
  /** Answers a request that has waited for too long. */
  readonly giveUp: (request: IncomingMessage, response: ServerResponse) => void;
  readonly clock: Clock;
}

/**
 * Returns a listener that lets requests wait until the handler is there: a client that connects to
 * a daemon that is starting is answered late, not refused. Cuts the connections when `ready`
 * rejects.
 */
export function waitUntilReady(
  ready: Promise<RequestListener>,
  { limitMs, giveUp, clock }: WaitUntilReadyOptions,
): RequestListener {
  let handler: RequestListener | undefined;
  ready.then(
    (itself) => {
      handler = itself;
    },
    () => {
      // The start has failed, which its caller reports.
    },
  );
  return (request, response) => {
    if (handler) return handler(request, response);
    const waiting = new AbortController();
    /** True once, unless the client has hung up meanwhile. */
    const endWait = () => {
      const isFirst = !waiting.signal.aborted;
      waiting.abort();
      return isFirst && !response.closed;
    };
    void clock.sleep(limitMs, waiting.signal).then(() => {
      if (endWait()) giveUp(request, response);
    });
    ready.then(
      (itself) => {
        if (endWait()) itself(request, response);
      },
      () => {
        if (endWait()) request.socket.destroy();
      },
    );
  };
}
