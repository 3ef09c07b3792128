import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

export interface HoldOptions {
  readonly limitMs: number;
  /** Answers a request that has waited for too long. */
  readonly giveUp: (request: IncomingMessage, response: ServerResponse) => void;
}

/**
 * Serves before there is anything to serve with: requests wait for the handler. Whoever connects
 * to a daemon that is starting is answered late, and not refused. When no handler comes, the
 * connections are cut.
 */
export function heldUntil(
  ready: Promise<RequestListener>,
  { limitMs, giveUp }: HoldOptions,
): RequestListener {
  let handler: RequestListener | undefined;
  ready.then(
    (itself) => {
      handler = itself;
    },
    () => {
      // The start has failed, which is its caller's to report.
    },
  );
  return (request, response) => {
    if (handler) return handler(request, response);
    let isWaiting = true;
    const stopWaiting = () => {
      const wasWaiting = isWaiting;
      isWaiting = false;
      clearTimeout(timer);
      return wasWaiting && !response.closed;
    };
    const timer = setTimeout(() => {
      if (stopWaiting()) giveUp(request, response);
    }, limitMs);
    ready.then(
      (itself) => {
        if (stopWaiting()) itself(request, response);
      },
      () => {
        if (stopWaiting()) request.socket.destroy();
      },
    );
  };
}
