import type { Condition } from '../../lib/lock/condition.ts';
import type { Clock } from '../../lib/running/clock.ts';
import type { EventSink, VolumeEvent } from '../../lib/volumes/events.ts';
import type { Happening, SentinelReport } from '../../sentinel/watch.ts';
import { incompleteFence } from './fence-conditions.ts';

/** A fence that is complete within this time is no event: each stop takes a moment. */
const patienceMs = 3_000;

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
  readonly clock: Pick<Clock, 'now'>;
  /** Returns true while this host gives up a volume because an operator cleared its lock. */
  readonly isEvicted: (volume: string) => boolean;
  /** Called for each container that was ended because its volume was lost. Must not reject. */
  readonly onEnded?: ((container: EndedContainer) => Promise<void>) | undefined;
}

interface Incomplete {
  readonly why: string;
  readonly sinceMs: number;
  readonly isRecorded: boolean;
}

/** Records what the sentinel reports as events: each action once, each lasting fault once. */
export class SentinelNews {
  readonly #options: SentinelNewsOptions;
  /** The volumes whose fence is incomplete: since when, why, and whether an event says so. */
  #incomplete: ReadonlyMap<string, Incomplete> = new Map();
  #noted = 0;

  constructor(options: SentinelNewsOptions) {
    this.#options = options;
  }

  /** The number of the last action that is recorded; the sentinel need not report it again. */
  get noted(): number {
    return this.#noted;
  }

  /** Lists the volumes that the sentinel can't stop all users of. */
  conditions(): Condition[] {
    return [...this.#incomplete].map(([volume, { why }]) => incompleteFence(volume, why));
  }

  /** Resolves when all that the report has is recorded. */
  async take({ happenings, incomplete = {} }: SentinelReport): Promise<void> {
    const isSaid = ({ kind, volume, message }: Happening) =>
      kind === 'failed' && incomplete[volume] === message;
    // What the sentinel says in both ways is one event.
    const said = new Set(happenings.filter(isSaid).map(({ volume }) => volume));
    for (const happening of happenings) {
      if (isSaid(happening)) this.#noted = Math.max(this.#noted, happening.number);
      else await this.#note(happening);
    }
    const faults = Object.entries(incomplete).map(([volume, why]) => {
      return [volume, this.#incompleteNow(volume, why, said.has(volume))] as const;
    });
    this.#incomplete = new Map(faults);
  }

  /** Records what lasts, and at once what the sentinel itself takes for lasting. */
  #incompleteNow(volume: string, why: string, isLasting: boolean): Incomplete {
    const { events, clock } = this.#options;
    const before = this.#incomplete.get(volume);
    const sinceMs = before?.sinceMs ?? clock.now();
    const isRecorded = before?.isRecorded === true;
    const isDue = isLasting || clock.now() - sinceMs >= patienceMs;
    if (isDue && !isRecorded) {
      const { severity, message } = incompleteFence(volume, why);
      events.record({ severity, kind: 'incomplete', volume, message });
    }
    return { why, sinceMs, isRecorded: isRecorded || isDue };
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
