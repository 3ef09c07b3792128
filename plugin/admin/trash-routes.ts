import { Router } from 'express';
import { z } from 'zod';
import type { Clock } from '../../lib/running/clock.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { NotFoundError } from '../../lib/volumes/errors.ts';
import type { RemovedVolume, Trash } from '../../lib/volumes/operations/trash.ts';
import { parseEntry } from '../../lib/volumes/trash-entry.ts';
import { checkVolumeName } from '../../lib/volumes/volume.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { RemovedReply, RestoredReply, TrashReply } from './api/trash.ts';
import { answerLongWork } from './long-work.ts';

export type TrashOfRoutes = Pick<Trash, 'list' | 'bytes' | 'restore' | 'discard' | 'termMs'>;

const restoreBody = z.strictObject({
  volume: z.string(),
  which: z.string().optional(),
  as: z.string().optional(),
});
const discardBody = z.strictObject({ entry: z.string() });

/** Routes for removed volumes that are kept in the trash. */
export function trashRoutes(trash: TrashOfRoutes, clock: Clock): Router {
  const router = Router();
  router.get('/trash', async (_request, response) => {
    const removed: RemovedReply[] = [];
    for (const each of trash.list()) removed.push(await removedReply(trash, each));
    response.json({ removed, termMs: trash.termMs } satisfies TrashReply);
  });
  router.post('/trash/restore', async (request, response) => {
    const body = parseJson(bodyText(request.body), restoreBody);
    checkVolumeName(body.volume);
    await answerLongWork(response, clock, async (work) => {
      const { volume, id, removedAt } = await trash.restore(body, work);
      return { restored: { volume, id, removedAt, as: body.as ?? volume } satisfies RestoredReply };
    });
  });
  router.post('/trash/discard', async (request, response) => {
    const { entry: text } = parseJson(bodyText(request.body), discardBody);
    const entry = parseEntry(text);
    await answerLongWork(response, clock, async ({ signal }) => {
      const isGone = entry && (await trash.discard(entry, 'a person asked for it', signal));
      if (!isGone) throw new NotFoundError(`${text} is not in the trash; use VOLUME@ID`);
      return {};
    });
  });
  return router;
}

async function removedReply(
  trash: Pick<Trash, 'bytes'>,
  removed: RemovedVolume,
): Promise<RemovedReply> {
  const { volume, id, driver, removedAt, removedBy, keptUntil, record } = removed;
  const { options, snapshots } = record;
  const known = { volume, id, driver, options, removedAt, removedBy, keptUntil };
  const reply = { ...known, snapshots: snapshots.map(({ name }) => name) };
  try {
    return { ...reply, bytes: await trash.bytes(removed) };
  } catch (error) {
    return { ...reply, bytesError: messageOf(error) };
  }
}
