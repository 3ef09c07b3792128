import { Router } from 'express';
import { z } from 'zod';
import type { Clock } from '../../lib/running/clock.ts';
import type { Prune } from '../../lib/volumes/operations/prune.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { PruneReply } from './api/volumes.ts';
import { answerLongWork } from './long-work.ts';

const pruneBody = z.strictObject({
  unusedForMs: z.int().min(1_000),
  /** False: nothing is removed. */
  remove: z.boolean(),
});

/** Routes for the removal of volumes that nobody has used for long. */
export function pruneRoutes(prune: Pick<Prune, 'unused' | 'remove'>, clock: Clock): Router {
  const router = Router();
  router.post('/prune', async (request, response) => {
    const { unusedForMs, remove } = parseJson(bodyText(request.body), pruneBody);
    await answerLongWork(response, clock, async ({ signal }) => {
      const none = () => ({ unused: prune.unused(unusedForMs), removed: [] });
      return (remove ? await prune.remove(unusedForMs, { signal }) : none()) satisfies PruneReply;
    });
  });
  return router;
}
