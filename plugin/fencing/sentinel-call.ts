import type { RequestOptions } from 'node:http';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';

/** A busy sentinel answers late; a repeated call carries newer deadlines. */
const callLimitMs = 2_000;

/** The sentinel has answered, but with an error. */
export class SentinelRefusal extends Error {
  override readonly name = 'SentinelRefusal';
}

/**
 * Makes one call to the sentinel; resolves to the text of its answer. Rejects SentinelRefusal when
 * it answers with an error, and any other error when it does not answer in time.
 *
 * A `PATCH` goes over a connection that stays open, because Mounts wait for it. The other calls make
 * a connection each, so they find whichever sentinel has the socket now; after a failed `PATCH` one
 * of them follows.
 */
export type SentinelCall = (method: string, path: string, body?: string) => Promise<string>;

export function sentinelCall(socketPath: string): SentinelCall {
  let lasting = new Agent({ keepAlive: true, maxSockets: 1 });
  return async (method, path, body = '') => {
    const isFrequent = method === 'PATCH';
    const agent = isFrequent ? lasting : false;
    try {
      return await send({ socketPath, method, path, agent }, body);
    } catch (error) {
      if (isFrequent) {
        lasting.destroy(); // The process at its other end may not be the one that has the socket.
        lasting = new Agent({ keepAlive: true, maxSockets: 1 });
      }
      throw error;
    }
  };
}

async function send(options: RequestOptions, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(callLimitMs);
  const call = request({ ...options, signal }, (response) => {
    text(response).then((answer) => {
      if (response.statusCode === 200) resolve(answer);
      else reject(new SentinelRefusal(`the sentinel answers with an error: ${answer}`));
    }, reject);
  });
  call.on('error', reject);
  call.end(body);
  return await promise;
}
