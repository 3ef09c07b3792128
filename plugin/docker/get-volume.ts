import type { Request, Response } from 'express';
import type { Clock } from '../../lib/running/clock.ts';
import { InvalidRequestError, NotFoundError, UnavailableError } from '../../lib/volumes/errors.ts';
import type { VolumeService, VolumeView } from '../../lib/volumes/service.ts';
import { UnreadableRecordError } from '../../lib/volumes/stored-text.ts';
import { isVolumeName } from '../../lib/volumes/volume.ts';
import { clientGone } from '../http/client-gone.ts';
import { bodyText, parseJson } from '../http/json-body.ts';
import { reply } from './reply.ts';
import { volumeDetails } from './volume-status.ts';
import type { GetResponse } from './wire.ts';
import { nameRequest } from './wire.ts';

/** How long a Get waits until the volumes are known, and how often it tries. */
export interface StoreWait {
  readonly everyMs: number;
  readonly limitMs: number;
}

/** Well below the 15 s that the engine spends on a plugin that is down. */
export const defaultStoreWait: StoreWait = { everyMs: 100, limitMs: 3_000 };

/**
 * Answers Get. To the engine any error here means that the volume is gone: it then forgets the
 * volume's labels, options and users. So while the volumes are unknown this cuts the connection
 * instead, which the engine reads as "unknown".
 */
export function getVolume(volumes: VolumeService, wait: StoreWait, clock: Clock) {
  return async (request: Request, response: Response): Promise<void> => {
    const text = bodyText(request.body);
    // The engine repeats a request without its body (a bug), so the volume's name is unknown.
    if (text === '') return cut(request);
    const { Name: name } = parseJson(text, nameRequest);
    response.locals.volume = name;
    let view: VolumeView | undefined;
    try {
      view = await lookUp(volumes, name, { ...wait, clock, signal: clientGone(response) });
    } catch (error) {
      if (error instanceof InvalidRequestError) throw new NotFoundError('no such volume');
      cut(request);
      if (error instanceof UnavailableError) return;
      throw error;
    }
    if (view === undefined && isVolumeName(name)) throw volumes.notFound(name);
    if (view === undefined) throw new NotFoundError('no such volume');
    await reply(response, 200, { Volume: volumeDetails(view), Err: '' } satisfies GetResponse);
  };
}

/** Waits while the volumes are unknown, for at most `limitMs`. */
async function lookUp(
  volumes: VolumeService,
  name: string,
  { everyMs, limitMs, clock, signal }: StoreWait & { clock: Clock; signal: AbortSignal },
): Promise<VolumeView | undefined> {
  const end = clock.now() + limitMs;
  for (;;) {
    try {
      return volumes.get(name);
    } catch (error) {
      // Time does not mend a record.
      const isOver = signal.aborted || clock.now() >= end || error instanceof UnreadableRecordError;
      if (!(error instanceof UnavailableError) || isOver) throw error;
    }
    await clock.sleep(everyMs, signal);
  }
}

function cut(request: Request): void {
  request.socket.destroy();
}
