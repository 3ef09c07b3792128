import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnceEach } from '../../lib/running/say-once.ts';
import type { EventSink, VolumeEvent } from '../../lib/volumes/events.ts';
import type { EndedContainer, EndedContainers } from './ended-containers.ts';
import type { Engine } from './engine.ts';
import { verdictOn } from './restart-verdict.ts';

const log = createDebug('berth:engine');

/** How often the volumes of ended containers are looked at, in memory. */
const lookMs = 1_000;
/** How long the engine is left alone after it did not answer, or has not seen a container's end. */
const engineRetryMs = 5_000;
const firstPauseMs = 2_000;
const longestPauseMs = 300_000;
/** Several hosts may wait for a volume: they must not all ask for it in one moment. */
const spreadMs = 1_000;

export interface RestartsOptions {
  readonly ended: EndedContainers;
  readonly engine: Pick<Engine, 'inspect' | 'start'>;
  /** Returns true if a Mount of the volume would be granted now, without a queue. */
  readonly isFree: (volume: string) => boolean;
  readonly events: EventSink;
  readonly clock: Clock;
  /** Returns a number from 0 to 1. */
  readonly random?: () => number;
  /** Aborts when this daemon stops. */
  readonly signal: AbortSignal;
}

/** The attempts to start an ended container; a new daemon begins with none. */
interface Attempts {
  /** The volumes that it uses; undefined until the engine has answered. */
  readonly volumes?: readonly string[];
  /** The earliest time of the next look. */
  readonly dueMs: number;
  /** The pause after the next start that fails. */
  readonly pauseMs: number;
  /** True if a start was requested whose outcome is not known. */
  readonly isUnsure: boolean;
}

const untried: Attempts = { dueMs: 0, pauseMs: firstPauseMs, isUnsure: false };

/**
 * Starts the containers again that the sentinel ended, if their restart policy asks for that: for the
 * engine they were stopped by hand, so it does not start them itself.
 *
 *     sentinel kills ─► remember (on disk) ─► engine: policy, labels, run ─► its volumes are free ─► start
 *                                                  │ removed, started since, policy `no`       │ fails
 *                                                  ▼                                           ▼
 *                                               forgotten, with an event        again, after a growing pause
 *
 * A container is only started when all its volumes are free. A Mount that waits in the queue would
 * count as "another host has asked for the volume", and cost the present owner its containers at the
 * next short outage.
 */
export class Restarts {
  readonly #options: RestartsOptions;
  readonly #attempts = new Map<string, Attempts>();
  readonly #busy = new Set<string>();
  /** The volumes of the containers that are being started: one start at a time for each. */
  readonly #starting = new Set<string>();
  readonly #failures: SayOnceEach;

  constructor(options: RestartsOptions) {
    this.#options = options;
    this.#failures = new SayOnceEach((id, message) => {
      const container = options.ended.get(id);
      if (container) this.#record('error', 'failed', container, message);
    });
  }

  /** Runs until this daemon stops. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    for await (const _ of every(lookMs, clock, signal)) {
      for (const container of this.#options.ended.all()) {
        if (!this.#busy.has(container.id) && this.#isDue(container)) void this.#try(container);
      }
    }
  }

  /** Decides without a call to the engine. A free volume ends the pause after a failure. */
  #isDue({ id }: EndedContainer): boolean {
    const attempts = this.#of(id);
    if (attempts.volumes && !this.#areFree(attempts.volumes)) {
      if (attempts.pauseMs > firstPauseMs) this.#change(id, { dueMs: 0, pauseMs: firstPauseMs });
      return false;
    }
    return this.#options.clock.now() >= attempts.dueMs;
  }

  async #try(container: EndedContainer): Promise<void> {
    const { id } = container;
    this.#busy.add(id);
    try {
      await this.#step(container);
    } catch (error) {
      log('container %s: %s', id, error);
      this.#change(id, { dueMs: this.#options.clock.now() + engineRetryMs });
    } finally {
      this.#busy.delete(id);
    }
  }

  /** Rejects when the engine does not answer. */
  async #step(container: EndedContainer): Promise<void> {
    const { engine, ended, clock } = this.#options;
    const { id, seen } = container;
    const inspected = await engine.inspect(id);
    const verdict = verdictOn(container, inspected);
    if (verdict.do === 'forget') {
      if (inspected?.isLive && this.#of(id).isUnsure) return await this.#started(container);
      return await this.#giveUp(container, verdict.why);
    }
    if (!inspected || verdict.do === 'wait') {
      this.#change(id, { dueMs: clock.now() + engineRetryMs });
      return;
    }
    this.#change(id, { volumes: inspected.volumes });
    const { name, startedAt, volumes } = inspected;
    if (seen) return await this.#startIfFree(container, volumes);
    await ended.put({ ...container, seen: { name, startedAt } });
  }

  async #startIfFree(container: EndedContainer, volumes: readonly string[]): Promise<void> {
    const { clock, random = Math.random, signal } = this.#options;
    if (volumes.some((volume) => this.#starting.has(volume)) || !this.#areFree(volumes)) return;
    for (const volume of volumes) this.#starting.add(volume);
    try {
      await clock.sleep(spreadMs * random(), signal);
      if (signal.aborted || !this.#areFree(volumes)) return;
      await this.#start(container);
    } finally {
      for (const volume of volumes) this.#starting.delete(volume);
    }
  }

  async #start(container: EndedContainer): Promise<void> {
    const { engine, clock } = this.#options;
    const { id } = container;
    this.#change(id, { isUnsure: true });
    try {
      await engine.start(id);
    } catch (error) {
      const { pauseMs } = this.#of(id);
      this.#change(id, {
        dueMs: clock.now() + pauseMs,
        pauseMs: Math.min(2 * pauseMs, longestPauseMs),
      });
      const why = messageOf(error);
      this.#failures.say(id, `${nameOf(container)} can't be started again; berth retries: ${why}`);
      return;
    }
    await this.#started(container);
  }

  async #started(container: EndedContainer): Promise<void> {
    const message =
      `started ${nameOf(container)} again, as its restart policy says: the sentinel had ended it, ` +
      'and its volumes are free';
    this.#record('info', 'restarted', container, message);
    await this.#forget(container);
  }

  /** A container that berth never meant to start is forgotten without an event. */
  async #giveUp(container: EndedContainer, why: string): Promise<void> {
    log('container %s is not started again: %s', container.id, why);
    if (container.seen) {
      const message = `does not start ${nameOf(container)} again: ${why}`;
      this.#record('info', 'not-restarted', container, message);
    }
    await this.#forget(container);
  }

  async #forget({ id }: EndedContainer): Promise<void> {
    this.#attempts.delete(id);
    this.#failures.clear(id);
    await this.#options.ended.remove(id);
  }

  #areFree(volumes: readonly string[]): boolean {
    return volumes.every((volume) => this.#options.isFree(volume));
  }

  #of(id: string): Attempts {
    return this.#attempts.get(id) ?? untried;
  }

  #change(id: string, change: Partial<Attempts>): void {
    this.#attempts.set(id, { ...this.#of(id), ...change });
  }

  #record(
    severity: VolumeEvent['severity'],
    kind: VolumeEvent['kind'],
    { volume }: EndedContainer,
    message: string,
  ): void {
    this.#options.events.record({ severity, kind, volume, message });
  }
}

function nameOf({ id, seen }: EndedContainer): string {
  const short = id.slice(0, 12);
  return seen ? `container ${seen.name} (${short})` : `container ${short}`;
}
