import type { Condition } from '../../lib/lock/condition.ts';
import { SayOnceEach } from '../../lib/running/say-once.ts';
import type { EventSink, VolumeEvent } from '../../lib/volumes/events.ts';
import type { Happening, SentinelReport } from '../../sentinel/watch.ts';
import { incompleteFence } from './fence-conditions.ts';

/** A container that the sentinel has ended. */
export interface EndedContainer {
  /** The engine's ID. */
  readonly id: string;
  readonly volume: string;
  /** RFC 3339. */
  readonly endedAt: string;
}

export interface SentinelNewsOptions {
  readonly events: EventSink;
  /** Returns true while this host gives up a volume because an operator cleared its lock. */
  readonly isEvicted: (volume: string) => boolean;
  /** Called for each container that was ended because its volume was lost. Must not reject. */
  readonly onEnded?: ((container: EndedContainer) => Promise<void>) | undefined;
}

/** Records what the sentinel reports as events: each action once, each lasting fault once. */
export class SentinelNews {
  readonly #options: SentinelNewsOptions;
  readonly #faults: SayOnceEach;
  #incomplete: ReadonlyMap<string, string> = new Map();
  #noted = 0;

  constructor(options: SentinelNewsOptions) {
    this.#options = options;
    this.#faults = new SayOnceEach((volume, why) => {
      const { severity, message } = incompleteFence(volume, why);
      options.events.record({ severity, kind: 'incomplete', volume, message });
    });
  }

  /** The number of the last action that is recorded; the sentinel need not report it again. */
  get noted(): number {
    return this.#noted;
  }

  /** Lists the volumes that the sentinel can't stop all users of. */
  conditions(): Condition[] {
    return [...this.#incomplete].map(([volume, why]) => incompleteFence(volume, why));
  }

  /** Resolves when all that the report has is recorded. */
  async take({ happenings, incomplete = {} }: SentinelReport): Promise<void> {
    for (const happening of happenings) await this.#note(happening);
    const before = this.#incomplete;
    this.#incomplete = new Map(Object.entries(incomplete));
    for (const volume of before.keys()) {
      if (!this.#incomplete.has(volume)) this.#faults.clear(volume);
    }
    for (const [volume, why] of this.#incomplete) this.#faults.say(volume, why);
  }

  async #note({ number, kind, volume, message, at, container }: Happening): Promise<void> {
    if (number <= this.#noted) return;
    const { events, isEvicted, onEnded } = this.#options;
    events.record({ severity: severities[kind], kind, volume, message, time: at });
    const hasEnded = kind === 'killed' || kind === 'stopped';
    if (hasEnded && container !== undefined && !isEvicted(volume)) {
      await onEnded?.({ id: container, volume, endedAt: at });
    }
    this.#noted = number;
  }
}

const severities: Record<Happening['kind'], VolumeEvent['severity']> = {
  paused: 'warning',
  resumed: 'info',
  stopped: 'warning',
  killed: 'error',
  failed: 'error',
};
