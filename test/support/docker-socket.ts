import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { listenOnUnixSocket } from '../../lib/linux/unix-server.ts';
import type { DockerAppOptions } from '../../plugin/docker/app.ts';
import { dockerApp } from '../../plugin/docker/app.ts';
import { MemoryVolumes } from './memory-volumes.ts';

export interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: unknown;
}

/** The plugin's socket, served from volumes in memory and called as the engine calls it. */
export interface DockerSocket extends AsyncDisposable {
  readonly volumes: MemoryVolumes;
  /** Sends a body (an object as JSON, a string unchanged) or none, without a Content-Type. */
  call(endpoint: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Sends a request whose caller may hang up before the answer. */
  begin(endpoint: string, body: object): { leave(): void };
}

export async function openDockerSocket(
  options: Pick<DockerAppOptions, 'clock'> = {},
): Promise<DockerSocket> {
  const dir = mkdtempSync(join(tmpdir(), 'berth-'));
  const volumes = new MemoryVolumes();
  const app = dockerApp(volumes, {
    scope: 'global',
    onActivate: () => volumes.calls.push('activated'),
    ...options,
  });
  const server = await listenOnUnixSocket(app, { path: join(dir, 'berth.sock'), mode: 0o600 });

  const send = (endpoint: string, body: string, headers: Record<string, string>) => {
    const outgoing = request({
      socketPath: server.path,
      path: `/${endpoint}`,
      method: 'POST',
      headers: {
        Accept: 'application/vnd.docker.plugins.v1.2+json',
        'Content-Length': String(Buffer.byteLength(body)),
        ...headers,
      },
      agent: false,
    });
    outgoing.end(body);
    const answered = once(outgoing, 'response').then(([response]): IncomingMessage => response);
    return { answered, outgoing };
  };

  return {
    volumes,
    async call(endpoint, body = '', headers = {}) {
      const sent = typeof body === 'string' ? body : `${JSON.stringify(body)}\n`;
      const response = await send(endpoint, sent, headers).answered;
      const received = await text(response);
      return {
        status: response.statusCode,
        type: response.headers['content-type'],
        body: JSON.parse(received),
      };
    },
    begin(endpoint, body) {
      const { answered, outgoing } = send(endpoint, JSON.stringify(body), {});
      // The test closes the connection, so the answer may never arrive.
      answered.catch(() => undefined);
      return { leave: () => outgoing.destroy() };
    },
    async [Symbol.asyncDispose]() {
      await server.close({ graceMs: 0 });
      rmSync(dir, { recursive: true });
    },
  };
}
