import type { Response } from 'express';
import type { Clock } from '../../lib/running/clock.ts';
import type { CallContext } from '../../lib/volumes/service.ts';
import { clientGone } from '../http/client-gone.ts';
import type { LongWorkEvent } from './api/long-work.ts';
import { failureOf, statusOf } from './failure.ts';
import { holderReply } from './replies.ts';

/** The shortest time between two progress events: a person can't read faster. */
const progressEveryMs = 100;

/** The context of long work: the client's signal, and ways to report events. */
export interface LongWork extends CallContext {
  readonly onWait: NonNullable<CallContext['onWait']>;
  send(event: LongWorkEvent): void;
}

/**
 * Runs long work for one request, and answers with its events, one JSON object per line. The last
 * event is `done` (with the result of the work) or `error`. A client that disconnects aborts the
 * work. Work that fails before its first event is answered with an HTTP status.
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
      onProgress: (progress) => {
        const now = clock.now();
        const isDue =
          now - progressAt >= progressEveryMs || progress.doneBytes === progress.totalBytes;
        // A client that reads slowly gets fewer events, not all of them later.
        if (!isDue || response.writableNeedDrain) return;
        progressAt = now;
        send({ event: 'progress', ...progress });
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
