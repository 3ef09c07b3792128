import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { Engine } from './engine.ts';

const log = createDebug('berth:engine');

export interface NamesInTheWayOptions {
  readonly engine: Pick<Engine, 'foreignVolumes'>;
  /** Returns the names of this daemon's volumes; throws while they are not known. */
  readonly names: () => readonly string[];
  readonly intervalMs: number;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

/**
 * Finds the names of volumes that the engine also has under another driver. Containers then get the other volume, which
 * is usually empty, without an error: an engine that could not reach berth has made it for a `docker run -v NAME:/path`.
 */
export class NamesInTheWay {
  readonly #options: NamesInTheWayOptions;
  readonly #trouble = new SayOnce((text) => log('names in the way are not known: %s', text));
  /** The driver by the volume's name. */
  #found: readonly (readonly [name: string, driver: string])[] = [];

  constructor(options: NamesInTheWayOptions) {
    this.#options = options;
  }

  /** Looks from time to time until the daemon stops. */
  async run(): Promise<void> {
    const { intervalMs, clock, signal } = this.#options;
    for await (const _ of every(intervalMs, clock, signal)) await this.look();
  }

  /** Looks now. Never rejects: while the engine does not answer, the last result stays. */
  async look(): Promise<void> {
    const { engine, names, signal } = this.#options;
    try {
      const foreign = await engine.foreignVolumes(signal);
      this.#found = names().flatMap((name) => {
        const driver = foreign.get(name);
        return driver === undefined ? [] : [[name, driver] as const];
      });
      this.#trouble.clear();
    } catch (error) {
      this.#trouble.say(messageOf(error));
    }
  }

  conditions(): Warning[] {
    return this.#found.map(([name, driver]) => hidden(name, driver));
  }
}

interface Warning {
  readonly severity: 'warning';
  readonly message: string;
}

function hidden(name: string, driver: string): Warning {
  const message =
    `the engine has a volume ${name} of driver ${driver}, and containers of this host get that one ` +
    `instead of berth's: look at its content, then remove it: docker volume rm ${name}`;
  return { severity: 'warning', message };
}
