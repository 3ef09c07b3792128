import type { ServerResponse } from 'node:http';
import { contentType } from './wire.ts';

/**
 * Sends one JSON answer. Resolves to true if the whole answer left this process, to false if the
 * client had closed the connection.
 */
export function reply(response: ServerResponse, status: number, body: object): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  if (response.closed || response.headersSent) return Promise.resolve(false);
  const text = Buffer.from(`${JSON.stringify(body)}\n`);
  response.once('close', () => resolve(response.writableFinished));
  response.writeHead(status, { 'Content-Type': contentType, 'Content-Length': text.length });
  response.end(text, () => resolve(true));
  return promise;
}

/** Sends an error. The engine shows the text of a non-200 answer, and Podman reads only the status. */
export function replyError(response: ServerResponse, text: string, status = 500): Promise<boolean> {
  return reply(response, status, { Err: text });
}
