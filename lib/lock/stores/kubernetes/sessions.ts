import { SessionGoneError } from '../../errors.ts';
import { isPermanent, permanentSessionOf } from '../../permanent-session.ts';
import type { OpenSession, SessionRequest } from '../ticket-store.ts';
import type { DeadSessions } from './dead-sessions.ts';
import type { Leases } from './leases.ts';
import { taken } from './leases.ts';
import type { Draft, Steps } from './steps.ts';
import type { Surroundings } from './surroundings.ts';

/** The longest pause between two looks for a renewal. */
const longestLookMs = 1_000;

/**
 * The sessions of this client. A session has a Lease, and a place in the state with the same
 * **incarnation**: the value of the client that opened or resumed it last.
 *
 *     open    Lease, then the state     close   the state, then the Lease
 *     renew   the Lease alone           end     the Lease, when it was not renewed, then the state
 *
 * So a session in the state whose Lease is missing has ended; a Lease without a session expires.
 */
export class Sessions {
  readonly #leases: Leases;
  readonly #steps: Steps;
  readonly #dead: DeadSessions;
  readonly #surroundings: Surroundings;
  /** The incarnations that this client has written, by session. */
  readonly #own = new Map<string, string>();

  constructor(leases: Leases, steps: Steps, dead: DeadSessions, surroundings: Surroundings) {
    this.#leases = leases;
    this.#steps = steps;
    this.#dead = dead;
    this.#surroundings = surroundings;
  }

  async open({ ttlMs, owner, resume }: SessionRequest): Promise<OpenSession> {
    const incarnation = this.#surroundings.newId();
    if (ttlMs === Number.POSITIVE_INFINITY) {
      const id = permanentSessionOf(owner);
      await this.#begin(id, incarnation);
      return { id, ttlMs, resumed: true };
    }
    const resumedMs = resume === undefined ? undefined : await this.#resume(resume, incarnation);
    if (resume !== undefined && resumedMs !== undefined) {
      return { id: resume, ttlMs: resumedMs, resumed: true };
    }
    const id = this.#surroundings.newId();
    const ttlSeconds = Math.ceil(ttlMs / 1000);
    await this.#leases.make(id, incarnation, ttlSeconds);
    await this.#begin(id, incarnation);
    return { id, ttlMs: ttlSeconds * 1000, resumed: false };
  }

  async renew(id: string): Promise<{ readonly ttlMs: number }> {
    if (isPermanent(id)) return { ttlMs: Number.POSITIVE_INFINITY };
    const ttlMs = await this.#leases.renew(id, this.#own.get(id));
    if (ttlMs === taken) throw takenError(id);
    if (ttlMs === undefined) throw new SessionGoneError(`session ${id} has ended`);
    return { ttlMs };
  }

  /** Ends a session. Resolves without any effect if it is another client's now. */
  async close(id: string): Promise<void> {
    const isEnded = await this.#steps.take((draft) => {
      if (this.isTaken(id, draft)) return false;
      draft.model.dropSession(id);
      if (isPermanent(id)) draft.model.addSession(id);
      else draft.incarnations.delete(id);
      return true;
    });
    const lease = isEnded && !isPermanent(id) ? await this.#leases.find(id) : undefined;
    if (lease) await this.#leases.remove(lease);
  }

  /**
   * True if renewals arrive. Holders renew every third of the TTL: after half, one is missing. No clock of
   * another host counts, so a client that has not followed the session has to wait that long for one.
   */
  async isAlive(id: string): Promise<boolean> {
    if (isPermanent(id)) return false;
    for (;;) {
      const lease = await this.#leases.find(id);
      if (lease === undefined) return false;
      const { unchangedMs, isRenewal } = this.#dead.observed(lease);
      if (unchangedMs >= lease.ttlMs / 2) return false;
      if (isRenewal || this.#own.has(id)) return true;
      await this.#surroundings.sleep(Math.min(lease.ttlMs / 16, longestLookMs));
    }
  }

  /** True if another client has resumed a session that this one has opened. */
  isTaken(id: string, { incarnations }: Draft): boolean {
    const [own, now] = [this.#own.get(id), incarnations.get(id)];
    return own !== undefined && now !== undefined && own !== now;
  }

  requireOwn(id: string, draft: Draft): void {
    if (this.isTaken(id, draft)) throw takenError(id);
  }

  async #begin(id: string, incarnation: string): Promise<void> {
    await this.#steps.take(({ model, incarnations }) => {
      model.addSession(id);
      incarnations.set(id, incarnation);
    });
    this.#own.set(id, incarnation);
  }

  /** Resolves to the TTL; to undefined if the session has ended. */
  async #resume(id: string, incarnation: string): Promise<number | undefined> {
    const ttlMs = await this.#leases.renew(id, undefined, incarnation);
    if (ttlMs === undefined || ttlMs === taken) return undefined;
    const isThere = await this.#steps.take(({ model, incarnations }) => {
      if (!model.hasSession(id)) return false;
      incarnations.set(id, incarnation);
      return true;
    });
    if (!isThere) return undefined;
    this.#own.set(id, incarnation);
    return ttlMs;
  }
}

function takenError(id: string): SessionGoneError {
  return new SessionGoneError(`another process has resumed session ${id}`);
}
