import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { Engine } from './engine.ts';

const log = createDebug('berth:engine');
const retryMs = 5_000;

/**
 * Makes this plugin known to the engine. The engine looks for a plugin only when it is used first,
 * and until then a swarm's scheduler places no task there that needs it. Repeats until the engine
 * answers.
 */
export async function introduceTo(
  engine: Pick<Engine, 'meetPlugins'>,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const trouble = new SayOnce((text) => log('the engine does not answer yet: %s', text));
  for await (const _ of every(retryMs, clock, signal)) {
    try {
      await engine.meetPlugins(signal);
      log('the engine has looked for its plugins');
      return;
    } catch (error) {
      if (!signal.aborted) trouble.say(messageOf(error));
    }
  }
}
