import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { messageOf } from '../lib/running/message-of.ts';
import type { Sentinel } from './sentinel.ts';
import { StaleBaseError } from './sentinel.ts';
import { changeSchema, watchSchema } from './watch.ts';

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
      response.statusCode = error instanceof StaleBaseError ? 409 : 400;
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
      requireBoot(watch.bootId, bootId);
      return reply(sentinel.told(watch));
    }
    case 'PATCH /watch': {
      const change = changeSchema.parse(JSON.parse(body));
      requireBoot(change.bootId, bootId);
      return reply(sentinel.changed(change));
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

function requireBoot(given: string, present: string): void {
  if (given !== present) throw new Error(`the watch is for boot ${given}, not for this one`);
}
