import type { Request } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import type { Clock } from '../../lib/running/clock.ts';
import type { VolumeService } from '../../lib/volumes/service.ts';
import { checkVolumeName } from '../../lib/volumes/volume.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import { answerLongWork } from './long-work.ts';

const createBody = z.strictObject({
  name: z.string(),
  options: z.record(z.string(), z.string()).default({}),
});
const renameBody = z.strictObject({ to: z.string() });

/** Routes that change which volumes there are: what Docker's Create and Remove do, for hosts without an engine. */
export function volumeNameRoutes(volumes: VolumeService, clock: Clock): Router {
  const router = Router();
  router.post('/volumes', async (request, response) => {
    const { name, options } = parseJson(bodyText(request.body), createBody);
    checkVolumeName(name);
    await answerLongWork(response, clock, async (work) => {
      await volumes.create({ name, options }, work);
      return {};
    });
  });
  router.delete('/volumes/:name', async (request: Request<{ name: string }>, response) => {
    const { name } = request.params;
    checkVolumeName(name);
    await answerLongWork(response, clock, async (work) => {
      await volumes.remove(name, work);
      return {};
    });
  });
  router.post('/volumes/:name/rename', async (request: Request<{ name: string }>, response) => {
    const { name } = request.params;
    const { to } = parseJson(bodyText(request.body), renameBody);
    checkVolumeName(name);
    checkVolumeName(to);
    await answerLongWork(response, clock, async (work) => {
      await volumes.rename(name, to, work);
      return {};
    });
  });
  return router;
}
