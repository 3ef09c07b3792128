import { request } from 'node:http';
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
 */
export type SentinelCall = (method: string, path: string, body?: string) => Promise<string>;

export function sentinelCall(socketPath: string): SentinelCall {
  return async (method, path, body = '') => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const signal = AbortSignal.timeout(callLimitMs);
    const call = request({ socketPath, method, path, signal, agent: false }, (response) => {
      text(response).then((answer) => {
        if (response.statusCode === 200) resolve(answer);
        else reject(new SentinelRefusal(`the sentinel answers with an error: ${answer}`));
      }, reject);
    });
    call.on('error', reject);
    call.end(body);
    return await promise;
  };
}
