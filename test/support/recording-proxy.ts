import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request as httpRequest } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { PluginAnswer } from './plugin-call.ts';

/** One recorded call of the engine. */
export interface RecordedCall {
  /** The method without its prefix: `Create`, `Activate`. */
  readonly method: string;
  /** Undefined if the call had no body, like a call that the engine repeats. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
}

/**
 * When in a call both sides lose their connection: before the plugin gets it, some milliseconds
 * after the plugin got it, or after the plugin answered.
 */
export type Cut = 'before' | { readonly afterMs: number } | 'after';

/** A proxy between an engine and a plugin that records the calls and fails on demand. */
export interface RecordingProxy extends AsyncDisposable {
  readonly calls: readonly RecordedCall[];
  /** Returns the methods called for a volume, in order; without a name, those of all calls. */
  methods(volume?: string): string[];
  /** Returns how often a method was called. */
  count(method: string): number;
  /** Clears the recorded calls and the planned faults. */
  forget(): void;
  /** Cuts the connection at the next call of this method for this volume. */
  cutNext(method: string, volume: string, cut: Cut): void;
  /** Answers the next calls of this method itself; the plugin does not get them. */
  answerNext(method: string, ...answers: PluginAnswer[]): void;
  readonly isOpen: boolean;
  /** Removes the socket, as when a plugin has ended. */
  close(): Promise<void>;
  open(): Promise<void>;
}

export interface RecordingProxyOptions {
  readonly socket: string;
  /** The plugin's own socket. */
  readonly target: string;
  /** If false, the proxy listens only after `open`. */
  readonly isOpen?: boolean;
}

export async function startRecordingProxy({
  socket,
  target,
  isOpen = true,
}: RecordingProxyOptions): Promise<RecordingProxy> {
  const calls: RecordedCall[] = [];
  const cuts = new Map<string, Cut>();
  const answers = new Map<string, PluginAnswer[]>();
  let server: ReturnType<typeof createServer> | undefined;

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const sent = await buffer(request);
    const method = (request.url ?? '').replace(/^.*\./, '');
    const body = sent.length === 0 ? undefined : JSON.parse(sent.toString());
    calls.push({ method, body });
    const key = `${method} ${body?.Name}`;
    const cut = cuts.get(key);
    cuts.delete(key);
    if (cut === 'before') return cutOff(request);
    const answer = answers.get(method)?.shift();
    if (answer) {
      response.writeHead(answer.status ?? 200).end(JSON.stringify(answer.body));
      return;
    }
    const { url: path, headers } = request;
    const forwarded = httpRequest({
      socketPath: target,
      path,
      headers,
      method: 'POST',
      agent: false,
    });
    response.once('close', () => forwarded.destroy());
    const answered = once(forwarded, 'response').then(([first]): IncomingMessage => first);
    forwarded.end(sent);
    if (typeof cut === 'object') {
      answered.catch(() => undefined);
      await once(forwarded, 'finish');
      await delay(cut.afterMs);
      return cutOff(request);
    }
    const incoming = await answered;
    const text = await buffer(incoming);
    if (cut === 'after') return cutOff(request);
    response.writeHead(incoming.statusCode ?? 500, incoming.headers).end(text);
  }

  async function open(): Promise<void> {
    server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
      handle(request, response).catch(() => cutOff(request));
    });
    server.listen(socket);
    await once(server, 'listening');
  }

  async function close(): Promise<void> {
    if (!server?.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  if (isOpen) await open();
  return {
    calls,
    methods: (volume) =>
      calls
        .filter(({ body }) => volume === undefined || body?.Name === volume)
        .map(({ method }) => method),
    count: (method) => calls.filter((call) => call.method === method).length,
    forget: () => {
      calls.length = 0;
      cuts.clear();
      answers.clear();
    },
    cutNext: (method, volume, cut) => {
      cuts.set(`${method} ${volume}`, cut);
    },
    answerNext: (method, ...next) => {
      answers.set(method, next);
    },
    get isOpen() {
      return server?.listening ?? false;
    },
    close,
    open,
    [Symbol.asyncDispose]: close,
  };
}

function cutOff(request: IncomingMessage): void {
  request.socket.destroy();
}
