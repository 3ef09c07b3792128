import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

/** Reads a path below /v1 from a daemon's admin socket. Saves the start of the `berth` command. */
export async function readAdmin(socketPath: string, path: string): Promise<unknown> {
  const outgoing = request({ socketPath, path: `/v1${path}`, agent: false });
  outgoing.end();
  const response = await once(outgoing, 'response').then(([first]): IncomingMessage => first);
  const answer = await text(response);
  if (response.statusCode !== 200) throw new Error(`GET ${path}: ${answer}`);
  return JSON.parse(answer);
}
