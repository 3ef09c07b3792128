import createDebug from 'debug';
import { isPermanent } from '../../permanent-session.ts';
import type { Lease, Leases } from './leases.ts';
import type { StateObject } from './state-object.ts';
import type { Steps } from './steps.ts';
import type { Surroundings } from './surroundings.ts';

const log = createDebug('berth:kubernetes');

/** Limits of the pause between two looks; in between it is an eighth of the shortest TTL. */
const shortestPauseMs = 250;
const longestPauseMs = 2_000;

/** A version of a Lease, and since when this client has seen no other. */
interface Observed {
  readonly resourceVersion: string;
  readonly since: number;
  /** This client has seen an earlier version: the renewal to this one took place while it looked. */
  readonly isRenewal: boolean;
}

/**
 * Ends the sessions of others whose Lease nobody has renewed for its TTL. The time counts from the
 * moment at which this client read that version first, by a clock that nobody sets, so no clock of
 * another host matters; the holder counts from before its renewal, so it gives up first. The Lease
 * is deleted only as that version: a renewal in the last moment is kept.
 */
export class DeadSessions {
  readonly #leases: Leases;
  readonly #steps: Steps;
  readonly #object: StateObject;
  readonly #time: Surroundings;
  readonly #observed = new Map<string, Observed>();

  constructor(leases: Leases, steps: Steps, object: StateObject, time: Surroundings) {
    this.#leases = leases;
    this.#steps = steps;
    this.#object = object;
    this.#time = time;
  }

  /** Looks repeatedly until the signal aborts. A failure is repeated at the next look. */
  async run(signal: AbortSignal): Promise<void> {
    let pauseMs = shortestPauseMs;
    while (!signal.aborted) {
      try {
        pauseMs = await this.#look();
      } catch (error) {
        log('dead sessions were not looked for: %s', error);
      }
      await this.#time.idle(pauseMs, signal);
    }
  }

  /**
   * Returns how long this client has seen no renewal of a Lease, in milliseconds, from its first look on, and
   * whether it has seen one at all.
   */
  observed(lease: Lease): { readonly unchangedMs: number; readonly isRenewal: boolean } {
    const { since, isRenewal } = this.#observe(lease);
    return { unchangedMs: this.#time.now() - since, isRenewal };
  }

  /** Returns the pause until the next look. */
  async #look(): Promise<number> {
    // Before the list: the Lease of each of these sessions was made before the session.
    const sessions = (this.#object.known?.state.sessions ?? []).filter((id) => !isPermanent(id));
    const leases = await this.#leases.all();
    const found = new Set(leases.map(({ session }) => session));
    for (const id of [...this.#observed.keys()]) if (!found.has(id)) this.#observed.delete(id);
    const ended = sessions.filter((id) => !found.has(id));
    for (const lease of leases) {
      if (this.observed(lease).unchangedMs >= lease.ttlMs && (await this.#leases.remove(lease))) {
        ended.push(lease.session);
      }
    }
    if (ended.length > 0) await this.#drop(ended);
    const shortest = Math.min(...leases.map(({ ttlMs }) => ttlMs));
    return Math.min(Math.max(shortestPauseMs, shortest / 8), longestPauseMs);
  }

  /** Ends sessions by one step each, which makes one revision at most. */
  async #drop(ended: readonly string[]): Promise<void> {
    const drop = (id: string) =>
      this.#steps.take(({ model, incarnations }) => {
        model.dropSession(id);
        incarnations.delete(id);
      });
    await Promise.all(ended.map(drop));
  }

  #observe({ session, resourceVersion }: Lease): Observed {
    const before = this.#observed.get(session);
    if (before?.resourceVersion === resourceVersion) return before;
    const now = { resourceVersion, since: this.#time.now(), isRenewal: before !== undefined };
    this.#observed.set(session, now);
    return now;
  }
}
