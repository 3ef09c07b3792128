import type { Request } from 'express';
import { Router } from 'express';
import { z } from 'zod';
import type { Clock } from '../../lib/running/clock.ts';
import { VolumeError } from '../../lib/volumes/errors.ts';
import type { CopyInUse, VolumeService, VolumeView } from '../../lib/volumes/service.ts';
import { checkSnapshotName, checkVolumeName, parseSource } from '../../lib/volumes/volume.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import type { SnapshotTaken, StoodStill } from './api/snapshots.ts';
import type { RulesReply, VolumeDetailReply, VolumesReply } from './api/volumes.ts';
import { answerLongWork } from './long-work.ts';
import { volumeReply } from './replies.ts';

/** How a volume in use is copied. */
const inUseBody = z.strictObject({
  live: z.boolean().optional(),
  holdLimitMs: z.int().min(1).max(600_000).optional(),
  before: z.string().min(1).optional(),
  after: z.string().min(1).optional(),
  container: z.string().min(1).optional(),
  commandLimitMs: z.int().min(1).max(3_600_000).optional(),
});
const resizeBody = z.strictObject({ size: z.string() });
const optionsBody = z.strictObject({ options: z.record(z.string(), z.string()) });
const snapshotBody = z.strictObject({ name: z.string().optional(), ...inUseBody.shape });
const copyBody = z.strictObject({ source: z.string(), target: z.string(), ...inUseBody.shape });

/** Routes for volumes, their snapshots and copies. */
export function volumeRoutes(volumes: VolumeService, clock: Clock): Router {
  const router = Router();
  router.get('/volumes', (_request, response) => {
    const reply: VolumesReply = {
      volumes: volumes.list().map(volumeReply),
      unreadable: volumes.unreadable(),
    };
    response.json(reply);
  });
  router.get('/volumes/:name', async (request: Request<{ name: string }>, response) => {
    const reply = volumeReply(find(volumes, request.params.name));
    response.json({
      ...reply,
      ...(await usageOf(volumes, reply.name)),
    } satisfies VolumeDetailReply);
  });

  router.post('/volumes/:name/resize', async (request: Request<{ name: string }>, response) => {
    const { name } = request.params;
    checkVolumeName(name);
    const { size } = parseJson(bodyText(request.body), resizeBody);
    await answerLongWork(response, clock, async (work) => {
      await volumes.resize(name, size, work);
      return {};
    });
  });
  router.post('/volumes/:name/options', async (request: Request<{ name: string }>, response) => {
    const { name } = request.params;
    checkVolumeName(name);
    const { options } = parseJson(bodyText(request.body), optionsBody);
    await answerLongWork(response, clock, async (work) => {
      const {
        access,
        failover,
        onLost,
        protect,
        options: own,
      } = await volumes.set(name, options, work);
      return { rules: { access, failover, onLost, protect, options: own } satisfies RulesReply };
    });
  });

  router.post('/volumes/:name/snapshots', async (request: Request<{ name: string }>, response) => {
    const volume = request.params.name;
    checkVolumeName(volume);
    const { name: snapshot, ...how } = parseJson(bodyText(request.body) || '{}', snapshotBody);
    if (snapshot !== undefined) checkSnapshotName(snapshot);
    const source = snapshot === undefined ? { volume } : { volume, snapshot };
    await answerLongWork(response, clock, async (work) => {
      const { inUse, stoodStill } = copyInUse(how);
      const snapshot = await volumes.snapshot(source, { ...work, inUse });
      return { snapshot, ...stoodStill() } satisfies SnapshotTaken;
    });
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
    const { source: from, target, ...how } = parseJson(bodyText(request.body), copyBody);
    const source = parseSource(from);
    checkVolumeName(target);
    await answerLongWork(response, clock, async (work) => {
      const { inUse, stoodStill } = copyInUse(how);
      await volumes.copy(source, target, { ...work, inUse });
      return stoodStill() satisfies StoodStill;
    });
  });
  return router;
}

function copyInUse({ live, holdLimitMs, commandLimitMs, ...around }: z.infer<typeof inUseBody>) {
  let ms: number | undefined;
  const onStoodStill = (took: number) => {
    ms = took;
  };
  return {
    inUse: {
      ...{ isLive: live, holdLimitMs, onStoodStill },
      commands: { ...around, limitMs: commandLimitMs },
    } satisfies CopyInUse,
    stoodStill: () => (ms === undefined ? {} : { stoodStillMs: ms }),
  };
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
  if (view === undefined) throw volumes.notFound(name);
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
