import { once } from 'node:events';
import type { Request } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import type { LockService } from '../../lib/lock/lock-service.ts';
import { UseMount, UseSnapshot } from '../../lib/lock/use.ts';
import { NotFoundError, UnavailableError } from '../../lib/volumes/errors.ts';
import type { VolumeService } from '../../lib/volumes/service.ts';
import { checkVolumeName } from '../../lib/volumes/volume.ts';
import type { TicketReply } from '../admin-api.ts';
import { clientGone } from '../client-gone.ts';
import { bodyText, parseJson } from '../json-body.ts';
import { answerLongWork } from './long-work.ts';
import { ticketReplies } from './replies.ts';

const clearBody = z.strictObject({
  token: z.int().positive(),
  force: z.boolean().default(false),
});

const holdBody = z.strictObject({
  /** For people: what is being done. */
  detail: z.string().max(200).optional(),
  /** 0: one try. Absent: the configured limit. */
  timeoutMs: z.int().nonnegative().max(86_400_000).optional(),
});

export interface LockRoutesOptions {
  readonly locks: LockService;
  readonly volumes: VolumeService;
  /** Aborts when the daemon is about to stop: holds end, or it would wait for them. */
  readonly stopping: AbortSignal;
}

/** Who holds which lock, the operator's way to clear one, and holding one for a command. */
export function lockRoutes({ locks, volumes, stopping }: LockRoutesOptions): Router {
  const router = Router();
  router.get('/locks', (_request, response) => {
    response.json({ tickets: ticketReplies(locks.tickets()) });
  });
  router.get('/locks/:volume', (request: Request<{ volume: string }>, response) => {
    response.json({ tickets: ticketsOf(locks, nameOf(request)) });
  });

  router.post('/locks/:volume/clear', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const body = parseJson(bodyText(request.body), clearBody);
    const ticket = await locks.clearLock({ ...body, volume, signal: clientGone(response) });
    response.json({ cleared: ticketReplies([ticket])[0] });
  });

  router.post('/locks/:volume/hold', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const { detail, timeoutMs } = parseJson(bodyText(request.body) || '{}', holdBody);
    // A mistyped name would give a lock on nothing.
    if (volumes.get(volume) === undefined) throw new NotFoundError(`no such volume: ${volume}`);
    await answerLongWork(response, async ({ signal, send, onWait }) => {
      const uses = [UseMount(volume, 'Maintenance'), UseSnapshot(volume, 'Maintenance')];
      const options = {
        signal: AbortSignal.any([signal, stopping]),
        onWait,
        ...(detail !== undefined && { detail }),
        ...(timeoutMs !== undefined && { timeoutMs }),
      };
      await locks.executeWithMultiUseLock(uses, options, async (lock) => {
        send({ event: 'held', token: lock.token });
        await aborted(AbortSignal.any([signal, stopping, lock.signal]));
        lock.throwIfLost();
        if (stopping.aborted) {
          throw new UnavailableError(`berth stops; volume ${volume} is no longer locked`);
        }
      });
      return {};
    });
  });
  return router;
}

function nameOf({ params }: Request<{ volume: string }>): string {
  checkVolumeName(params.volume);
  return params.volume;
}

/** Who waits is told from all tickets: one may wait for its lock on another volume. */
function ticketsOf(locks: LockService, volume: string): TicketReply[] {
  return ticketReplies(locks.tickets()).filter(({ uses }) =>
    uses.some((use) => use.volume === volume),
  );
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}
