import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import type { Engine } from './engine.ts';

const log = createDebug('berth:engine');
const retryMs = 5_000;

/**
 * Makes this plugin known to the engine, which looks for one only when it is used first: until
 * then a swarm's scheduler places no task there that needs it. Goes on until the engine answers.
 */
export async function introduceTo(engine: Engine, signal: AbortSignal): Promise<void> {
  let complaint = '';
  while (!signal.aborted) {
    try {
      await engine.meetPlugins(signal);
      log('the engine has looked for its plugins');
      return;
    } catch (error) {
      const text = String(error);
      if (text !== complaint && !signal.aborted) log('the engine does not answer yet: %s', text);
      complaint = text;
    }
    await sleep(retryMs, undefined, { signal, ref: false }).catch(() => {
      // Stopping: the loop looks at the signal.
    });
  }
}
