import { once } from 'node:events';
import type { Request } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import type { LockClearer, LockService } from '../../lib/lock/use/lock-service.ts';
import { UseMount, UseSnapshot } from '../../lib/lock/use/use.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { UnavailableError } from '../../lib/volumes/errors.ts';
import type { UncleanEnds } from '../../lib/volumes/operations/unclean-ends.ts';
import type { VolumeService } from '../../lib/volumes/service.ts';
import { checkVolumeName } from '../../lib/volumes/volume.ts';
import { clientGone } from '../http/client-gone.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { GoneReply, LocksReply, UncleanEndsReply } from './api/locks.ts';
import { answerLongWork } from './long-work.ts';
import { gateReplies, ticketReplies } from './replies.ts';

/** The lock to clear, or the Mount of a host that is gone. */
const clearBody = z.strictObject({
  token: z.int().positive(),
  force: z.boolean().default(false),
});

const disableBody = z.strictObject({
  /** A reason for people: each refusal shows it. */
  why: z.string().min(1).max(200).optional(),
});

const holdBody = z.strictObject({
  /** A description for people, shown with the holder. */
  detail: z.string().max(200).optional(),
  /** 0: one attempt. Absent: the configured limit. */
  timeoutMs: z.int().nonnegative().max(86_400_000).optional(),
});

export interface LockRoutesOptions {
  readonly locks: LockService;
  readonly clearer: LockClearer;
  readonly uncleanEnds: Pick<UncleanEnds, 'confirmGone' | 'list'>;
  readonly volumes: VolumeService;
  /** Aborts when the daemon is about to stop: it releases locks that it holds for commands. */
  readonly stopping: AbortSignal;
  readonly clock: Clock;
}

/** Routes that show locks, clear and disable them, and hold one while the client is connected. */
export function lockRoutes(options: LockRoutesOptions): Router {
  const { locks, clearer, uncleanEnds, volumes, stopping, clock } = options;
  const router = Router();
  router.get('/locks', (_request, response) => {
    const reply: LocksReply = {
      tickets: ticketReplies(locks.tickets()),
      gates: gateReplies(locks.gates()),
    };
    response.json(reply);
  });
  router.get('/locks/:volume', (request: Request<{ volume: string }>, response) => {
    response.json(locksOf(locks, nameOf(request)));
  });

  router.post('/locks/:volume/clear', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const body = parseJson(bodyText(request.body), clearBody);
    const ticket = await clearer.clearLock({ ...body, volume, signal: clientGone(response) });
    response.json({ cleared: ticketReplies([ticket])[0] });
  });

  router.get('/locks/:volume/gone', (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const unclean = uncleanEnds.list().filter((claim) => claim.volume === volume);
    if (unclean.length === 0) requireVolume(volumes, volume);
    const reply: UncleanEndsReply = {
      uncleanEnds: unclean.map(({ host, since, token }) => ({ volume, host, since, token })),
    };
    response.json(reply);
  });
  router.post('/locks/:volume/gone', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const body = parseJson(bodyText(request.body), clearBody);
    const { host, since, token } = await uncleanEnds.confirmGone({ ...body, volume });
    response.json({ gone: { volume, host, since, token } } satisfies GoneReply);
  });

  router.post('/locks/:volume/disable', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const { why } = parseJson(bodyText(request.body) || '{}', disableBody);
    requireVolume(volumes, volume);
    const gates = await locks.disable(volume, why === undefined ? {} : { why });
    response.json({ disabled: gateReplies(gates)[0] });
  });
  router.post('/locks/:volume/enable', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const opened = await locks.enable(volume);
    // A removed volume can be enabled, too; a mistyped name gets an error.
    if (opened.length === 0) requireVolume(volumes, volume);
    response.json({ enabled: volume });
  });

  router.post('/locks/:volume/hold', async (request: Request<{ volume: string }>, response) => {
    const volume = nameOf(request);
    const { detail, timeoutMs } = parseJson(bodyText(request.body) || '{}', holdBody);
    requireVolume(volumes, volume);
    await answerLongWork(response, clock, async ({ signal, send, onWait }) => {
      const uses = [UseMount(volume, 'maintenance'), UseSnapshot(volume, 'maintenance')];
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
          throw new UnavailableError(
            `the berth daemon stops; volume ${volume} is no longer locked`,
          );
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

/** Throws NotFoundError: without this check a mistyped name would be locked. */
function requireVolume(volumes: VolumeService, name: string): void {
  if (volumes.get(name) === undefined) throw volumes.notFound(name);
}

/** Computes held and waiting over all tickets, then filters: one may wait for another volume. */
function locksOf(locks: LockService, volume: string): LocksReply {
  const tickets = ticketReplies(locks.tickets()).filter(({ uses }) =>
    uses.some((use) => use.volume === volume),
  );
  return { tickets, gates: gateReplies(locks.gates(volume)) };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}
