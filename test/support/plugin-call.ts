import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface PluginAnswer {
  readonly status: number | undefined;
  readonly body: unknown;
}

/**
 * Calls a volume plugin on its socket as the engine does: a JSON body (or a string unchanged, or no
 * body) without a Content-Type. Rejects when the plugin closes the connection.
 */
export async function callPlugin(
  socketPath: string,
  endpoint: string,
  body: unknown = '',
  headers: Readonly<Record<string, string>> = {},
): Promise<PluginAnswer> {
  const sent = typeof body === 'string' ? body : `${JSON.stringify(body)}\n`;
  const outgoing = request({
    socketPath,
    path: `/${endpoint}`,
    method: 'POST',
    headers: {
      Accept: 'application/vnd.docker.plugins.v1.2+json',
      'Content-Length': String(Buffer.byteLength(sent)),
      ...headers,
    },
    agent: false,
  });
  outgoing.end(sent);
  const response = await once(outgoing, 'response').then(([first]): IncomingMessage => first);
  return { status: response.statusCode, body: JSON.parse(await text(response)) };
}
