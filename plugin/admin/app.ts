import createDebug from 'debug';
import type { NextFunction, Request, Response } from 'express';
import express from 'express';
import type { LockClearer, LockService } from '../../lib/lock/use/lock-service.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { systemClock } from '../../lib/running/clock.ts';
import { never } from '../../lib/running/never.ts';
import type { Doctor } from '../../lib/volumes/doctor/doctor.ts';
import { NotFoundError, UnavailableError } from '../../lib/volumes/errors.ts';
import type { Prune } from '../../lib/volumes/operations/prune.ts';
import type { UncleanEnds } from '../../lib/volumes/operations/unclean-ends.ts';
import type { VolumeService } from '../../lib/volumes/service.ts';
import type { EventLog } from '../events/event-log.ts';
import { collectBody } from '../http/json-body.ts';
import type { StatusReply, StatusReport } from './api/status.ts';
import type { AcceptStore } from './doctor-routes.ts';
import { doctorRoutes } from './doctor-routes.ts';
import { eventRoutes } from './event-routes.ts';
import { failureOf, statusOf } from './failure.ts';
import { lockRoutes } from './lock-routes.ts';
import { pruneRoutes } from './prune-routes.ts';
import { ticketReplies } from './replies.ts';
import type { TrashOfRoutes } from './trash-routes.ts';
import { trashRoutes } from './trash-routes.ts';
import { volumeNameRoutes } from './volume-name-routes.ts';
import { volumeRoutes } from './volume-routes.ts';

const log = createDebug('berth:admin');

export interface AdminAppOptions {
  readonly volumes: VolumeService;
  readonly locks: LockService;
  readonly clearer: LockClearer;
  readonly uncleanEnds: Pick<UncleanEnds, 'confirmGone' | 'list'>;
  readonly trash: TrashOfRoutes;
  readonly prune: Pick<Prune, 'unused' | 'remove'>;
  readonly doctor: Doctor;
  readonly acceptStore: AcceptStore;
  readonly status: () => Promise<StatusReport>;
  readonly events: EventLog;
  /** Aborts when the daemon is about to stop: locks held for a command are released. */
  readonly stopping?: AbortSignal;
  readonly clock?: Clock;
}

/**
 * The operators' JSON API; `api/` has its types. A client that can connect may do anything, so
 * the socket is for root only.
 */
export function adminApp({
  volumes,
  locks,
  clearer,
  uncleanEnds,
  trash,
  prune,
  doctor,
  acceptStore,
  status,
  events,
  stopping = never,
  clock = systemClock(),
}: AdminAppOptions): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(logCalls(clock));
  app.use(collectBody());
  app.get('/v1/status', async (_request, response) => {
    const tickets = ticketReplies(locks.tickets());
    const held = tickets.filter(({ state }) => state === 'held').length;
    const count = volumeCount(volumes);
    const reply: StatusReply = {
      ...(await status()),
      ...(count !== undefined && { volumes: count }),
      locks: { held, waiting: tickets.length - held },
    };
    response.json(reply);
  });
  app.use(
    '/v1',
    volumeRoutes(volumes, clock),
    volumeNameRoutes(volumes, clock),
    trashRoutes(trash, clock),
    pruneRoutes(prune, clock),
    lockRoutes({ locks, clearer, uncleanEnds, volumes, stopping, clock }),
  );
  app.use('/v1', eventRoutes({ events, stopping }), doctorRoutes(doctor, acceptStore));
  app.use(({ method, path }: Request) => {
    throw new NotFoundError(`the admin socket has no ${method} ${path}`);
  });
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    if (response.headersSent || response.closed) return;
    const failure = failureOf(error);
    response.status(statusOf(failure)).json({ error: failure });
  });
  return app;
}

function volumeCount(volumes: VolumeService): number | undefined {
  try {
    return volumes.list().length;
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}

function logCalls(clock: Clock) {
  return ({ method, path }: Request, response: Response, next: NextFunction): void => {
    const start = clock.now();
    response.once('close', () => {
      const outcome = response.writableFinished ? response.statusCode : 'client-gone';
      log('call=%s path=%s outcome=%s ms=%d', method, path, outcome, clock.now() - start);
    });
    next();
  };
}
