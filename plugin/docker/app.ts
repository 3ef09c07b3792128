import createDebug from 'debug';
import type { NextFunction, Request, Response } from 'express';
import express from 'express';
import type { z } from 'zod';
import type { Clock } from '../../lib/running/clock.ts';
import { systemClock } from '../../lib/running/clock.ts';
import { InvalidMountIdError, InvalidRequestError, VolumeError } from '../../lib/volumes/errors.ts';
import type { VolumeService } from '../../lib/volumes/service.ts';
import { checkSnapshotName, checkVolumeName } from '../../lib/volumes/volume.ts';
import { clientGone } from '../http/client-gone.ts';
import { bodyRefusal, bodyText, collectBody, parseJson } from '../http/json-body.ts';
import type { StoreWait } from './get-volume.ts';
import { defaultStoreWait, getVolume } from './get-volume.ts';
import { mountVolume } from './mount-volume.ts';
import { reply, replyError } from './reply.ts';
import type {
  CapabilitiesResponse,
  ErrResponse,
  ListResponse,
  MountResponse,
  Scope,
} from './wire.ts';
import {
  activated,
  copyRequest,
  createRequest,
  mountRequest,
  nameRequest,
  snapshotRequest,
} from './wire.ts';

const logCall = createDebug('berth:http');
const logError = createDebug('berth:error');

export interface DockerAppOptions {
  /** `global` if other hosts see the same volumes. */
  readonly scope: Scope;
  /** Called when an engine process activates the plugin; each does that once. */
  readonly onActivate: () => void;
  readonly storeWait?: StoreWait;
  readonly clock?: Clock;
}

/**
 * Docker's volume plugin protocol over the volumes of this host (README.md). Errors are HTTP 500
 * with `{"Err": …}`, and 400 for a mount ID that no engine makes. A request without a body is refused: after a lost connection the engine repeats
 * a request without its body, so the volume's name is unknown.
 */
export function dockerApp(
  volumes: VolumeService,
  { scope, onActivate, storeWait = defaultStoreWait, clock = systemClock() }: DockerAppOptions,
): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(logCalls(clock));
  app.use(collectBody());

  app.post('/Plugin.Activate', async (_request, response) => {
    onActivate();
    await reply(response, 200, activated);
  });
  app.post('/VolumeDriver.Capabilities', async (_request, response) => {
    await reply(response, 200, { Capabilities: { Scope: scope } } satisfies CapabilitiesResponse);
  });
  app.post('/VolumeDriver.List', async (_request, response) => {
    const Volumes = volumes.list().map(({ record, mounted }) => ({
      Name: record.name,
      ...(mounted && { Mountpoint: mounted.mountpoint }),
    }));
    // Only their names are known; without them the engine would take them for removed.
    const unreadable = volumes.unreadable().flatMap(({ name: Name }) => (Name ? { Name } : []));
    await reply(response, 200, {
      Volumes: [...Volumes, ...unreadable],
      Err: '',
    } satisfies ListResponse);
  });
  app.post('/VolumeDriver.Get', getVolume(volumes, storeWait, clock));

  const post = <T extends { readonly Name: string }>(
    path: string,
    schema: z.ZodType<T>,
    answer: (body: T, response: Response) => Promise<void>,
  ) => {
    app.post(path, async (request, response) => {
      const text = bodyText(request.body);
      if (text === '') throw new InvalidRequestError('bad request: the body is empty; try again');
      const body = parseJson(text, schema);
      response.locals.volume = body.Name;
      await answer(body, response);
    });
  };

  post('/VolumeDriver.Create', createRequest, async ({ Name: name, Opts }, response) => {
    checkVolumeName(name);
    await volumes.create({ name, options: Opts ?? {} }, { signal: clientGone(response) });
    await reply(response, 200, done);
  });
  post('/VolumeDriver.Remove', nameRequest, async ({ Name: name }, response) => {
    checkVolumeName(name);
    await volumes.remove(name, { signal: clientGone(response) });
    await reply(response, 200, done);
  });
  post('/VolumeDriver.Mount', mountRequest, mountVolume(volumes));
  post('/VolumeDriver.Unmount', mountRequest, async ({ Name: name, ID: id }, response) => {
    checkVolumeName(name);
    // The container is gone in any case, and the engine does not repeat the call: a client that
    // leaves does not abort it.
    await volumes.unmount(name, id, { signal: AbortSignal.timeout(unmountLimitMs) });
    await reply(response, 200, done);
  });
  post('/VolumeDriver.Path', nameRequest, async ({ Name: name }, response) => {
    const view = volumes.get(name);
    if (view === undefined) throw volumes.notFound(name);
    const Mountpoint = view.mounted?.mountpoint ?? '';
    await reply(response, 200, { Mountpoint, Err: '' } satisfies MountResponse);
  });
  post('/VolumeDriver.Snapshot', snapshotRequest, async (body, response) => {
    const source = { volume: body.Name, snapshot: body.Snapshot };
    checkVolumeName(source.volume);
    checkSnapshotName(source.snapshot);
    await volumes.snapshot(source, { signal: clientGone(response) });
    await reply(response, 200, done);
  });
  post('/VolumeDriver.Copy', copyRequest, async (body, response) => {
    checkVolumeName(body.Name);
    checkVolumeName(body.Target);
    if (body.Snapshot) checkSnapshotName(body.Snapshot);
    const source = { volume: body.Name, ...(body.Snapshot && { snapshot: body.Snapshot }) };
    await volumes.copy(source, body.Target, { signal: clientGone(response) });
    await reply(response, 200, done);
  });

  app.use(async ({ path }: Request, response: Response) => {
    await replyError(response, `not implemented: ${path.slice(1)}`, 404);
  });
  app.use(answerError);
  return app;
}

const done: ErrResponse = { Err: '' };

/** The engine waits this long for an Unmount. */
const unmountLimitMs = 60_000;

async function answerError(
  error: unknown,
  request: Request,
  response: Response,
  _next: NextFunction,
): Promise<void> {
  const expected = error instanceof VolumeError ? error : bodyRefusal(error);
  if (expected === undefined) logError('failed call=%s error=%o', request.path.slice(1), error);
  const status = error instanceof InvalidMountIdError ? 400 : 500;
  await replyError(response, expected?.message ?? `berth failed, see its log: ${error}`, status);
}

function logCalls(clock: Clock) {
  return ({ path }: Request, response: Response, next: NextFunction): void => {
    const start = clock.now();
    response.once('close', () => {
      const outcome = response.writableFinished ? response.statusCode : 'client-gone';
      const ms = (clock.now() - start).toFixed(1);
      const volume = JSON.stringify(response.locals.volume ?? '');
      logCall('call=%s volume=%s outcome=%s ms=%s', path.slice(1), volume, outcome, ms);
    });
    next();
  };
}
