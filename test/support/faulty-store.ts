import { setTimeout as pause } from 'node:timers/promises';
import { StoreRefusedError, StoreUnavailableError } from '../../lib/lock/errors.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';

/** The methods that send a request to the store. */
export type StoreMethod = Exclude<
  keyof TicketStore,
  'name' | 'properties' | 'watch' | 'showsAllOn' | 'health' | typeof Symbol.asyncDispose
>;

/**
 * A fault of one call. `lost request`: the store never gets it. `refused`: the store refuses it, until a
 * person acts. `lost reply`: the store executes the request, and the caller sees a failure. `arrivesAfterMs`: the caller sees a failure at once,
 * and the store executes the request later. `answersAfterMs`: the request is slow.
 * `repliesAfterMs`: the reply is slow.
 */
export type Fault =
  | 'lost request'
  | 'refused'
  | 'lost reply'
  | { readonly arrivesAfterMs: number }
  | { readonly answersAfterMs: number }
  | { readonly repliesAfterMs: number };

/** A connection to a store that fails on demand and records the calls made through it. */
export class FaultyStore implements TicketStore {
  readonly name: string;
  readonly properties: TicketStore['properties'];
  readonly watch: TicketStore['watch'];
  readonly #store: TicketStore;
  readonly #faults = new Map<StoreMethod, Fault[]>();
  readonly #calls: StoreMethod[] = [];
  #isCutOff = false;

  constructor(store: TicketStore) {
    this.#store = store;
    this.name = store.name;
    this.properties = store.properties;
    this.watch = (watcher) => store.watch(watcher);
  }

  /** Injects the faults into the next calls of `method`, one for each call. */
  fail(method: StoreMethod, ...faults: readonly Fault[]): void {
    this.#faults.set(method, [...(this.#faults.get(method) ?? []), ...faults]);
  }

  /** Loses every request until `reconnect`. */
  cutOff(): void {
    this.#isCutOff = true;
  }

  reconnect(): void {
    this.#isCutOff = false;
  }

  /** Returns and forgets the calls recorded so far. */
  takeCalls(): StoreMethod[] {
    return this.#calls.splice(0);
  }

  openSession: TicketStore['openSession'] = (request) =>
    this.#through('openSession', () => this.#store.openSession(request));

  renewSession: TicketStore['renewSession'] = (id) =>
    this.#through('renewSession', () => this.#store.renewSession(id));

  closeSession: TicketStore['closeSession'] = (id) =>
    this.#through('closeSession', () => this.#store.closeSession(id));

  sessionAlive: TicketStore['sessionAlive'] = (id) =>
    this.#through('sessionAlive', () => this.#store.sessionAlive(id));

  enqueue: TicketStore['enqueue'] = (request) =>
    this.#through('enqueue', () => this.#store.enqueue(request));

  tryEnqueue: TicketStore['tryEnqueue'] = (request) =>
    this.#through('tryEnqueue', () => this.#store.tryEnqueue(request));

  stands: TicketStore['stands'] = (ticket) =>
    this.#through('stands', () => this.#store.stands(ticket));

  closeGate: TicketStore['closeGate'] = (gate) =>
    this.#through('closeGate', () => this.#store.closeGate(gate));

  openGate: TicketStore['openGate'] = (lockName) =>
    this.#through('openGate', () => this.#store.openGate(lockName));

  gates: TicketStore['gates'] = () => this.#through('gates', () => this.#store.gates());

  health: TicketStore['health'] = () => this.#store.health();

  place: TicketStore['place'] = (ticket) => this.#through('place', () => this.#store.place(ticket));

  remove: TicketStore['remove'] = (ticket, claim, note) =>
    this.#through('remove', () => this.#store.remove(ticket, claim, note));

  commit: TicketStore['commit'] = (change) =>
    this.#through('commit', () => this.#store.commit(change));

  tickets: TicketStore['tickets'] = (lockName) =>
    this.#through('tickets', () => this.#store.tickets(lockName));

  record: TicketStore['record'] = (key) => this.#through('record', () => this.#store.record(key));

  records: TicketStore['records'] = (prefix) =>
    this.#through('records', () => this.#store.records(prefix));

  showsAllOn(lockName: string): boolean {
    return this.#store.showsAllOn?.(lockName) ?? false;
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#store[Symbol.asyncDispose]();
  }

  async #through<T>(method: StoreMethod, call: () => Promise<T>): Promise<T> {
    this.#calls.push(method);
    const lost = new StoreUnavailableError(`the network ate ${method}`);
    const fault = this.#isCutOff ? 'lost request' : this.#faults.get(method)?.shift();
    if (fault === undefined) return call();
    if (fault === 'lost request') throw lost;
    if (fault === 'refused') throw new StoreRefusedError(`the store refuses ${method}`);
    if (fault === 'lost reply') {
      await call();
      throw lost;
    }
    if ('answersAfterMs' in fault) {
      await pause(fault.answersAfterMs);
      return call();
    }
    if ('repliesAfterMs' in fault) {
      const answer = await call();
      await pause(fault.repliesAfterMs);
      return answer;
    }
    // The caller already has its error, so nobody receives this result.
    pause(fault.arrivesAfterMs)
      .then(call)
      .catch(() => {});
    throw lost;
  }
}
