import { StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { StoreWatcher, TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { StoreMethod } from '../../support/faulty-store.ts';
import type { Link } from './link.ts';

/** A host's connection to the store, through a simulated network. */
export class Connection implements TicketStore {
  readonly name: string;
  readonly properties: TicketStore['properties'];
  readonly #store: TicketStore;
  readonly #link: Link;

  constructor(store: TicketStore, link: Link) {
    this.name = store.name;
    this.properties = store.properties;
    this.#store = store;
    this.#link = link;
  }

  openSession: TicketStore['openSession'] = (request) =>
    this.#call('openSession', () => this.#store.openSession(request));

  renewSession: TicketStore['renewSession'] = (id) =>
    this.#call('renewSession', () => this.#store.renewSession(id));

  closeSession: TicketStore['closeSession'] = (id) =>
    this.#call('closeSession', () => this.#store.closeSession(id));

  sessionAlive: TicketStore['sessionAlive'] = (id) =>
    this.#call('sessionAlive', () => this.#store.sessionAlive(id));

  enqueue: TicketStore['enqueue'] = (request) =>
    this.#call('enqueue', () => this.#store.enqueue(request));

  tryEnqueue: TicketStore['tryEnqueue'] = (request) =>
    this.#call('tryEnqueue', () => this.#store.tryEnqueue(request));

  place: TicketStore['place'] = (ticket) => this.#call('place', () => this.#store.place(ticket));

  stands: TicketStore['stands'] = (ticket) =>
    this.#call('stands', () => this.#store.stands(ticket));

  remove: TicketStore['remove'] = (ticket, claim, note) =>
    this.#call('remove', () => this.#store.remove(ticket, claim, note));

  commit: TicketStore['commit'] = (change) =>
    this.#call('commit', () => this.#store.commit(change));

  tickets: TicketStore['tickets'] = (lockName) =>
    this.#call('tickets', () => this.#store.tickets(lockName));

  record: TicketStore['record'] = (key) => this.#call('record', () => this.#store.record(key));

  records: TicketStore['records'] = (prefix) =>
    this.#call('records', () => this.#store.records(prefix));

  closeGate: TicketStore['closeGate'] = (gate) =>
    this.#call('closeGate', () => this.#store.closeGate(gate));

  openGate: TicketStore['openGate'] = (lockName) =>
    this.#call('openGate', () => this.#store.openGate(lockName));

  gates: TicketStore['gates'] = () => this.#call('gates', () => this.#store.gates());

  health: TicketStore['health'] = () => this.#store.health();

  watch(watcher: StoreWatcher): Disposable {
    return this.#link.watch((remote) => this.#store.watch(remote), watcher);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #call<T>(method: StoreMethod, step: () => Promise<T>): Promise<T> {
    return this.#link.call(method, step, (why) => new StoreUnavailableError(why));
  }
}
