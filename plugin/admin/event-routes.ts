import { once } from 'node:events';
import type { Response } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import { InvalidRequestError } from '../../lib/volumes/errors.ts';
import type { EventLog } from '../events/event-log.ts';
import { clientGone } from '../http/client-gone.ts';
import type { EventsReply } from './api.ts';

const querySchema = z.strictObject({
  since: z.coerce.number().pipe(z.int().nonnegative()).default(0),
  follow: z.enum(['true', 'false']).default('false'),
});

export interface EventRoutesOptions {
  readonly events: EventLog;
  /** Aborts when the daemon is about to stop: nobody is to follow it then. */
  readonly stopping: AbortSignal;
}

/** What happened to volumes on this host; `?since=NUMBER` leaves out what is known. */
export function eventRoutes({ events, stopping }: EventRoutesOptions): Router {
  const router = Router();
  router.get('/events', async ({ query }, response) => {
    const parsed = querySchema.safeParse(query);
    if (!parsed.success) {
      throw new InvalidRequestError('use /v1/events?since=NUMBER, and &follow=true to go on');
    }
    const { since, follow } = parsed.data;
    if (follow === 'true') {
      await stream(response, events, since, AbortSignal.any([clientGone(response), stopping]));
      return;
    }
    const reply: EventsReply = { events: events.since(since) };
    response.json(reply);
  });
  return router;
}

/** One object per line (NDJSON). Who reads slower than events come misses the oldest. */
async function stream(
  response: Response,
  events: EventLog,
  since: number,
  signal: AbortSignal,
): Promise<void> {
  response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
  response.flushHeaders();
  for await (const event of events.follow(since, signal)) {
    if (response.destroyed) return;
    if (response.write(`${JSON.stringify(event)}\n`)) continue;
    await once(response, 'drain', { signal }).catch(() => {
      // It left, or the daemon stops: so ends the loop.
    });
  }
  response.end();
}
