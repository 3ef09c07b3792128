import { text } from 'node:stream/consumers';
import type { UnixCall } from '../../lib/linux/unix-call.ts';
import { callUnixSocket, http } from '../../lib/linux/unix-call.ts';

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
  let lasting = new http.Agent({ keepAlive: true, maxSockets: 1 });
  return async (method, path, body = '') => {
    const isFrequent = method === 'PATCH';
    const agent = isFrequent ? lasting : false;
    try {
      return await send({ socketPath, method, path, agent, body });
    } catch (error) {
      if (isFrequent) {
        lasting.destroy(); // The process at its other end may not be the one that has the socket.
        lasting = new http.Agent({ keepAlive: true, maxSockets: 1 });
      }
      throw error;
    }
  };
}

async function send(call: UnixCall): Promise<string> {
  const response = await callUnixSocket({ ...call, signal: AbortSignal.timeout(callLimitMs) });
  const answer = await text(response);
  if (response.statusCode === 200) return answer;
  throw new SentinelRefusal(`the sentinel answers with an error: ${answer}`);
}
