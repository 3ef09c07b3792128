import { once } from 'node:events';
import type { Response } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import { InvalidRequestError } from '../../lib/volumes/errors.ts';
import type { EventLog } from '../events/event-log.ts';
import { clientGone } from '../http/client-gone.ts';
import type { EventsReply } from './api/status.ts';

const querySchema = z.strictObject({
  since: z.coerce.number().pipe(z.int().nonnegative()).default(0),
  follow: z.enum(['true', 'false']).default('false'),
});

export interface EventRoutesOptions {
  readonly events: EventLog;
  /** Aborts when the daemon is about to stop: answers that follow events end. */
  readonly stopping: AbortSignal;
}

/** Routes for the events of this host; `?since=NUMBER` leaves out earlier ones. */
export function eventRoutes({ events, stopping }: EventRoutesOptions): Router {
  const router = Router();
  router.get('/events', async ({ query }, response) => {
    const parsed = querySchema.safeParse(query);
    if (!parsed.success) {
      throw new InvalidRequestError('use /v1/events?since=NUMBER, and &follow=true to follow');
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

/** Sends one event per line (NDJSON). A client that reads too slowly misses the oldest events. */
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
      // The client has left, or the daemon stops: the loop ends.
    });
  }
  response.end();
}
