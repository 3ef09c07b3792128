import { memoryState, memoryStore } from '../../../lib/lock/stores/memory/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { Clock } from '../../../lib/running/clock.ts';

/** One step that may have changed the store, and when it was, by the store's clock. */
interface Step {
  readonly at: number;
  readonly take: (store: TicketStore) => Promise<unknown>;
}

/**
 * A memory store that can be made again as it was at an earlier moment: it depends on nothing but its
 * steps and its clock, so the steps up to that moment lead to the same state, with the same revisions
 * and tokens. In a backup time stands still: its sessions keep what was left of their TTL.
 */
export class ReplayedStore {
  readonly store: TicketStore;
  readonly #clock: Clock;
  readonly #steps: Step[] = [];
  readonly #expiries = new Map<string, number>();
  /** The ID of the last new session. */
  #lastSession: string | undefined;
  /** The time of the step that is repeated. */
  #replayed: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    const own: Clock = {
      now: () => this.now,
      date: () => clock.date(),
      sleep: (ms, signal) => clock.sleep(ms, signal),
    };
    this.store = this.#logged(memoryStore({ shared: memoryState(own) }));
  }

  get now(): number {
    return this.#replayed ?? this.#clock.now();
  }

  /** When each session ends unless it is renewed, by the store's clock. */
  get expiries(): ReadonlyMap<string, number> {
    return this.#expiries;
  }

  /**
   * Returns the store as it was at a time of its clock; `clock` goes on from there. `bumps`: by how many
   * steps the revision is raised then, as `--bump-revision` raises it.
   */
  async asOf(at: number, clock: Clock, bumps: number): Promise<ReplayedStore> {
    const restored = new ReplayedStore(clock);
    for (const step of this.#steps) {
      if (step.at > at) break;
      restored.#replayed = step.at;
      await step.take(restored.store).catch(() => {
        // The store refused it the first time, too.
      });
    }
    restored.#replayed = at;
    // No store gives the ID of a lost session to another one: real ones are random.
    while (restored.#lastSession !== this.#lastSession) {
      const { id } = await restored.store.openSession({ ttlMs: 1, owner: '', resumable: false });
      await restored.store.closeSession(id);
    }
    for (let n = 0; n < bumps; n += 1) {
      await restored.store.closeGate({ lockName: 'bump', host: 'nobody', since: '' });
      await restored.store.openGate('bump');
    }
    restored.#replayed = undefined;
    return restored;
  }

  #logged(inner: TicketStore): TicketStore {
    const log = <T>(take: (store: TicketStore) => Promise<T>): Promise<T> => {
      this.#steps.push({ at: this.now, take });
      return take(inner);
    };
    const live = (id: string, ttlMs: number) => this.#expiries.set(id, this.now + ttlMs);
    return {
      ...inner,
      openSession: async (request) => {
        const opened = await log((store) => store.openSession(request));
        live(opened.id, opened.ttlMs);
        if (!opened.resumed) this.#lastSession = opened.id;
        return opened;
      },
      renewSession: async (id) => {
        const renewed = await log((store) => store.renewSession(id));
        live(id, renewed.ttlMs);
        return renewed;
      },
      closeSession: (id) => log((store) => store.closeSession(id)),
      enqueue: (request) => log((store) => store.enqueue(request)),
      tryEnqueue: (request) => log((store) => store.tryEnqueue(request)),
      remove: (ticket, claim, note) => log((store) => store.remove(ticket, claim, note)),
      commit: (change) => log((store) => store.commit(change)),
      closeGate: (gate) => log((store) => store.closeGate(gate)),
      openGate: (lockName) => log((store) => store.openGate(lockName)),
    };
  }
}
