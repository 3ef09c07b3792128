import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Host } from './host.ts';

/** The HTTP API of a host's engine. Saves the 50 ms that the docker command takes to start. */
export interface EngineApi extends Disposable {
  /** Returns the answer's JSON, or undefined for an empty one. Rejects if the engine refuses. */
  call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown>;
}

export function engineApi({ dockerSocket }: Pick<Host, 'dockerSocket'>): EngineApi {
  const agent = new Agent({ keepAlive: true });
  return {
    async call(method, path, body) {
      const outgoing = request({
        socketPath: dockerSocket,
        method,
        path,
        agent,
        headers: { 'Content-Type': 'application/json' },
      });
      outgoing.end(body && JSON.stringify(body));
      const response = await once(outgoing, 'response').then(([first]): IncomingMessage => first);
      const answer = await text(response);
      if ((response.statusCode ?? 0) >= 400) throw new Error(`${method} ${path}: ${answer}`);
      return answer === '' ? undefined : JSON.parse(answer);
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}
