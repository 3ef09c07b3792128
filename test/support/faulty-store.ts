import { setTimeout as pause } from 'node:timers/promises';
import { StoreUnavailableError } from '../../lib/lock/errors.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';

/** The methods that ask the store something. */
export type StoreMethod = Exclude<
  keyof TicketStore,
  'name' | 'properties' | 'watch' | 'health' | typeof Symbol.asyncDispose
>;

/**
 * What goes wrong with one call: the request never arrives; it is carried out and the reply is
 * lost; it is carried out late, when the caller has been told that it failed; or the request or
 * its reply is slow.
 */
export type Fault =
  | 'lost request'
  | 'lost reply'
  | { readonly arrivesAfterMs: number }
  | { readonly answersAfterMs: number }
  | { readonly repliesAfterMs: number };

/** A connection to a store that fails as it is told, and counts the calls made through it. */
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

  /** Lets the next calls of `method` fail, one for each fault. */
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

  /** The calls made since this was last asked. */
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

  remove: TicketStore['remove'] = (ticket) =>
    this.#through('remove', () => this.#store.remove(ticket));

  commit: TicketStore['commit'] = (change) =>
    this.#through('commit', () => this.#store.commit(change));

  tickets: TicketStore['tickets'] = (lockName) =>
    this.#through('tickets', () => this.#store.tickets(lockName));

  record: TicketStore['record'] = (key) => this.#through('record', () => this.#store.record(key));

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#store[Symbol.asyncDispose]();
  }

  async #through<T>(method: StoreMethod, call: () => Promise<T>): Promise<T> {
    this.#calls.push(method);
    const lost = new StoreUnavailableError(`the network ate ${method}`);
    const fault = this.#isCutOff ? 'lost request' : this.#faults.get(method)?.shift();
    if (fault === undefined) return call();
    if (fault === 'lost request') throw lost;
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
    // Nobody is there to hear how that goes.
    pause(fault.arrivesAfterMs)
      .then(call)
      .catch(() => {});
    throw lost;
  }
}
