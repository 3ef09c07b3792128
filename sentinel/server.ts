import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { messageOf } from '../lib/running/message-of.ts';
import type { Sentinel } from './sentinel.ts';
import { watchSchema } from './watch.ts';

export interface SentinelServerOptions {
  readonly sentinel: Sentinel;
  readonly bootId: string;
  /** Ends the process; a successor continues from the state file. */
  readonly end: () => void;
}

/** Serves the protocol that watch.ts describes. */
export function sentinelHandler(options: SentinelServerOptions): RequestListener {
  return (request, response) => {
    answer(options, request, response).catch((error) => {
      response.statusCode = 400;
      response.end(messageOf(error));
    });
  };
}

async function answer(
  { sentinel, bootId, end }: SentinelServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const call = `${request.method} ${request.url}`;
  const body = await text(request);
  const reply = (report: object) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(report));
  };
  switch (call) {
    case 'PUT /watch': {
      const watch = watchSchema.parse(JSON.parse(body));
      if (watch.bootId !== bootId)
        throw new Error(`the watch is for boot ${watch.bootId}, not for this one`);
      return reply(sentinel.told(watch));
    }
    case 'GET /report':
      return reply(sentinel.report());
    case 'POST /end':
      response.once('close', end);
      return reply(sentinel.report());
    default:
      throw new Error(`the sentinel has no endpoint ${call}`);
  }
}
