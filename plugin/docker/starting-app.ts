import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { WaitUntilReadyOptions } from '../http/wait-until-ready.ts';
import { waitUntilReady } from '../http/wait-until-ready.ts';
import { reply, replyError } from './reply.ts';
import { activated } from './wire.ts';

/** What the engine is served with once the daemon has started. */
export interface StartedApp {
  readonly app: RequestListener;
  /** Called for an engine that activated the plugin before the daemon had started. */
  readonly onActivate: () => void;
}

/**
 * The plugin's socket from the daemon's first moment. The engine's first call is answered at once,
 * as it sets no limit to it and everything else of the engine waits behind it; other calls wait.
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
        // Nothing to tell: this daemon ends.
      },
    );
    void reply(response, 200, activated);
  };
}

function giveUp(request: IncomingMessage, response: ServerResponse): void {
  // Any error would tell the engine that the volume is gone. A cut is "can't tell" to it.
  if (request.url === '/VolumeDriver.Get') request.socket.destroy();
  else void replyError(response, 'berth is still starting; try again, or see its log');
}
