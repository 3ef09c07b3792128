import type { Response } from 'express';
import type { Clock } from '../../lib/running/clock.ts';
import type { CallContext } from '../../lib/volumes/service.ts';
import { clientGone } from '../http/client-gone.ts';
import type { LongWorkEvent } from './api.ts';
import { failureOf, statusOf } from './failure.ts';
import { holderReply } from './replies.ts';

/** A person sees no more than this. */
const progressEveryMs = 100;

/** What long work is given: its caller's patience, and ways to say how it goes. */
export interface LongWork extends CallContext {
  readonly onWait: NonNullable<CallContext['onWait']>;
  send(event: LongWorkEvent): void;
}

/**
 * Runs long work for one request and answers with its events, one JSON object per line, the last
 * being `done` (with what the work resolves) or `error`. The caller's leaving aborts the work.
 * What fails before anything was said is an ordinary error with its HTTP status.
 */
export async function answerLongWork(
  response: Response,
  clock: Pick<Clock, 'now'>,
  work: (context: LongWork) => Promise<object>,
): Promise<void> {
  const send = (event: LongWorkEvent) => {
    if (response.closed) return;
    if (!response.headersSent) {
      response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
    }
    response.write(`${JSON.stringify(event)}\n`);
  };
  let progressAt = Number.NEGATIVE_INFINITY;
  try {
    const result = await work({
      signal: clientGone(response),
      send,
      onWait: (blockers) => send({ event: 'waiting', holders: blockers.map(holderReply) }),
      onProgress: ({ doneBytes, totalBytes }) => {
        const now = clock.now();
        const isDue = now - progressAt >= progressEveryMs || doneBytes === totalBytes;
        // A reader that is slower than the work gets less of it, not all of it later.
        if (!isDue || response.writableNeedDrain) return;
        progressAt = now;
        send({ event: 'progress', doneBytes, totalBytes });
      },
    });
    send({ event: 'done', ...result });
  } catch (error) {
    if (response.closed) return;
    const failure = failureOf(error);
    if (!response.headersSent) {
      response.status(statusOf(failure)).json({ error: failure });
      return;
    }
    send({ event: 'error', ...failure });
  }
  response.end();
}
