import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request as httpRequest } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { PluginAnswer } from './plugin-call.ts';

/** One call of the engine, as it came. */
export interface RecordedCall {
  /** Without its prefix: `Create`, `Activate`. */
  readonly method: string;
  /** Undefined: it came without one, as a call that the engine repeats. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Where in a call both sides lose their connection: the plugin never hears of it, is cut off some
 * milliseconds after it has, or answers in vain.
 */
export type Cut = 'before' | { readonly afterMs: number } | 'after';

/** Stands between an engine and a plugin, writes down what is said and now and then fails. */
export interface RecordingProxy extends AsyncDisposable {
  readonly calls: readonly RecordedCall[];
  /** The methods called with a volume, in order; without a name, all calls. */
  methods(volume?: string): string[];
  /** How often a method was called. */
  count(method: string): number;
  /** Begins anew: nothing is recorded, nothing is going to fail. */
  forget(): void;
  /** Loses the connection at the next call of this method with this volume. */
  cutNext(method: string, volume: string, cut: Cut): void;
  /** Answers the next calls of this method itself; the plugin hears nothing. */
  answerNext(method: string, ...answers: PluginAnswer[]): void;
  readonly isOpen: boolean;
  /** Takes its socket away, as a plugin that has ended, and puts it back. */
  close(): Promise<void>;
  open(): Promise<void>;
}

export interface RecordingProxyOptions {
  readonly socket: string;
  /** The plugin's own. */
  readonly target: string;
  /** False: only when `open` is called. */
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
