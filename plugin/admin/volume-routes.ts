import type { Request } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import type { Clock } from '../../lib/running/clock.ts';
import { NotFoundError, VolumeError } from '../../lib/volumes/errors.ts';
import type { VolumeService, VolumeView } from '../../lib/volumes/service.ts';
import { checkSnapshotName, checkVolumeName, parseSource } from '../../lib/volumes/volume.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { VolumeDetailReply } from './api.ts';
import { answerLongWork } from './long-work.ts';
import { volumeReply } from './replies.ts';

const snapshotBody = z.strictObject({ name: z.string().optional() });
const copyBody = z.strictObject({ source: z.string(), target: z.string() });

/** Routes for volumes, their snapshots and copies. */
export function volumeRoutes(volumes: VolumeService, clock: Clock): Router {
  const router = Router();
  router.get('/volumes', (_request, response) => {
    response.json({ volumes: volumes.list().map(volumeReply) });
  });
  router.get('/volumes/:name', async (request: Request<{ name: string }>, response) => {
    const reply = volumeReply(find(volumes, request.params.name));
    response.json({
      ...reply,
      ...(await usageOf(volumes, reply.name)),
    } satisfies VolumeDetailReply);
  });

  router.post('/volumes/:name/snapshots', async (request: Request<{ name: string }>, response) => {
    const volume = request.params.name;
    checkVolumeName(volume);
    const { name: snapshot } = parseJson(bodyText(request.body) || '{}', snapshotBody);
    if (snapshot !== undefined) checkSnapshotName(snapshot);
    const source = snapshot === undefined ? { volume } : { volume, snapshot };
    await answerLongWork(response, clock, async (work) => ({
      snapshot: await volumes.snapshot(source, work),
    }));
  });
  router.delete('/volumes/:volume/snapshots/:snapshot', async (request, response) => {
    const source = snapshotOf(request);
    await answerLongWork(response, clock, async (work) => {
      await volumes.removeSnapshot(source, work);
      return {};
    });
  });
  router.post('/volumes/:volume/snapshots/:snapshot/restore', async (request, response) => {
    const source = snapshotOf(request);
    await answerLongWork(response, clock, async (work) => {
      await volumes.restoreSnapshot(source, work);
      return {};
    });
  });
  router.post('/copies', async (request, response) => {
    const body = parseJson(bodyText(request.body), copyBody);
    const source = parseSource(body.source);
    checkVolumeName(body.target);
    await answerLongWork(response, clock, async (work) => {
      await volumes.copy(source, body.target, work);
      return {};
    });
  });
  return router;
}

function snapshotOf({ params }: Request<{ volume: string; snapshot: string }>) {
  const { volume, snapshot } = params;
  checkVolumeName(volume);
  checkSnapshotName(snapshot);
  return { volume, snapshot };
}

function find(volumes: VolumeService, name: string): VolumeView {
  checkVolumeName(name);
  const view = volumes.get(name);
  if (view === undefined) throw new NotFoundError(`no such volume: ${name}`);
  return view;
}

/** Returns the usage, or the reason why there is none: the reply shows the other fields anyway. */
async function usageOf(
  volumes: VolumeService,
  name: string,
): Promise<Pick<VolumeDetailReply, 'usage' | 'usageError'>> {
  try {
    return { usage: await volumes.usage(name) };
  } catch (error) {
    if (error instanceof VolumeError) return { usageError: error.message };
    throw error;
  }
}
