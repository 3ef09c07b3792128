import type { ServerResponse } from 'node:http';

/** Why an operation was given up: nobody is there any more to hear its result. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
  constructor() {
    super('the caller closed the connection');
  }
}

/** Aborts with a ClientGoneError when the client leaves before it has its answer. */
export function clientGone(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  const leave = () => {
    if (!response.writableFinished) controller.abort(new ClientGoneError());
  };
  if (response.closed) leave();
  else response.once('close', leave);
  return controller.signal;
}
