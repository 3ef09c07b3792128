import { once } from 'node:events';
import type { IncomingMessage, RequestOptions } from 'node:http';

/**
 * The HTTP of Node. An `import` of node:http by name also loads Node's WebSocket and fetch, because
 * it reads every export: 13 MB and 70 ms of CPU time in each process, for nothing.
 */
export const http = process.getBuiltinModule('node:http');

/** A request to a server on a Unix socket. */
export interface UnixCall
  extends Pick<RequestOptions, 'method' | 'path' | 'headers' | 'agent' | 'signal'> {
  readonly socketPath: string;
  readonly body?: string;
}

/**
 * Sends a request; resolves to the response once its head has arrived, whatever its status. Rejects
 * when no server answers, or when the signal aborts; after that, reading the response fails.
 */
export async function callUnixSocket({ body, ...options }: UnixCall): Promise<IncomingMessage> {
  const outgoing = http.request(options);
  outgoing.end(body);
  const [response] = await once(outgoing, 'response');
  // If the connection breaks later, reading the response fails.
  outgoing.on('error', () => undefined);
  return response;
}
