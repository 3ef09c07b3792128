import type { Response } from 'express';
import type { z } from 'zod';
import type { VolumeService } from '../../lib/volumes/service.ts';
import { checkVolumeName } from '../../lib/volumes/volume.ts';
import { clientGone } from '../http/client-gone.ts';
import { reply } from './reply.ts';
import type { MountResponse, mountRequest } from './wire.ts';

/** No client waits for this Unmount, but it must end; the engine itself would wait 60 s. */
const rollBackLimitMs = 60_000;

/**
 * Answers Mount. The engine sends no Unmount for a Mount that failed or took too long, so this rolls
 * back a mount whose answer was not delivered.
 */
export function mountVolume(volumes: VolumeService) {
  return async (
    { Name: name, ID: id }: z.infer<typeof mountRequest>,
    response: Response,
  ): Promise<void> => {
    checkVolumeName(name);
    const mountpoint = await volumes.mount(name, id, { signal: clientGone(response) });
    const rollBack = () =>
      volumes.unmount(name, id, { signal: AbortSignal.timeout(rollBackLimitMs) });
    if (mountpoint === '') {
      await rollBack();
      // With an empty mountpoint Docker would mount its own bundle directory into the container.
      throw new Error(`no mountpoint for volume ${name}`);
    }
    const answer: MountResponse = { Mountpoint: mountpoint, Err: '' };
    if (!(await reply(response, 200, answer))) await rollBack();
  };
}
