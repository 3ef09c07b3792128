import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { WaitUntilReadyOptions } from '../http/wait-until-ready.ts';
import { waitUntilReady } from '../http/wait-until-ready.ts';
import { reply, replyError } from './reply.ts';
import { activated } from './wire.ts';

/** The handler of the plugin's socket once the daemon has started. */
export interface StartedApp {
  readonly app: RequestListener;
  /** Called for an engine that activated the plugin before the daemon had started. */
  readonly onActivate: () => void;
}

/**
 * Serves the plugin's socket while the daemon starts. Answers the engine's first call at once,
 * because the engine sets no limit to it and does nothing else meanwhile; other calls wait.
 */
export function startingApp(
  started: Promise<StartedApp>,
  options: Pick<WaitUntilReadyOptions, 'limitMs' | 'clock'>,
): RequestListener {
  const ready = started.then(({ app }) => app);
  const waiting = waitUntilReady(ready, { ...options, giveUp });
  let hasStarted = false;
  ready.then(
    () => {
      hasStarted = true;
    },
    () => {
      // waitUntilReady cuts the connections then.
    },
  );
  return (request, response) => {
    if (hasStarted || request.url !== '/Plugin.Activate') return waiting(request, response);
    request.resume();
    started.then(
      ({ onActivate }) => onActivate(),
      () => {
        // The start has failed: this daemon ends.
      },
    );
    void reply(response, 200, activated);
  };
}

function giveUp(request: IncomingMessage, response: ServerResponse): void {
  // To the engine an error on Get means that the volume is gone, a cut connection "unknown".
  if (request.url === '/VolumeDriver.Get') request.socket.destroy();
  else void replyError(response, 'berth is still starting; try again, or see its log');
}
