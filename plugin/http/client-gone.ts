import type { ServerResponse } from 'node:http';

/** The client closed its connection, so its operation was cancelled. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
  constructor() {
    super('the caller closed the connection');
  }
}

/** Returns a signal that aborts with ClientGoneError when the client leaves without its answer. */
export function clientGone(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  const leave = () => {
    if (!response.writableFinished) controller.abort(new ClientGoneError());
  };
  if (response.closed) leave();
  else response.once('close', leave);
  return controller.signal;
}
