import { StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { HistoryRecord, RememberedHistory } from '../../../lib/lock/stores/history-record.ts';
import { judgeHistory } from '../../../lib/lock/stores/history-record.ts';
import type { HistorySource, NewHistory } from '../../../lib/lock/stores/history-source.ts';
import { StoreHistory } from '../../../lib/lock/stores/store-history.ts';
import type { StoreWatcher, TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { Clock } from '../../../lib/running/clock.ts';
import type { StoreMethod } from '../../support/faulty-store.ts';
import { ConnectionSigns } from './connection-signs.ts';
import type { Link } from './link.ts';
import type { MayBeGranted } from './recorded-store.ts';
import type { SimulatedLook, SimulatedServer } from './simulated-server.ts';
import type { HistoryDisk } from './simulated-world.ts';
import { WatchOfHistory } from './watch-of-history.ts';

export interface ConnectionOptions {
  readonly server: SimulatedServer;
  readonly link: Link;
  /** The host's name. */
  readonly host: string;
  readonly clock: Clock;
  readonly disk: HistoryDisk;
}

/** No answer, or the answer of another server than the one that was asked: a sign for the history. */
class ConnectionBrokenError extends StoreUnavailableError {}

/**
 * A host's connection to the server, through a simulated network. As the connections to etcd and to
 * PostgreSQL, it notices that the store was put back, by the same `StoreHistory`.
 */
export class Connection implements TicketStore {
  readonly name: string;
  readonly properties: TicketStore['properties'];
  readonly #options: ConnectionOptions;
  readonly #signs = new ConnectionSigns();
  readonly #history: StoreHistory<SimulatedLook>;
  readonly #store: TicketStore;
  /** The start of the server that this connection leads to. */
  #life: number;

  constructor(options: ConnectionOptions) {
    const { server, host, disk } = options;
    this.#options = options;
    this.#life = server.life;
    const memory = {
      before: disk.history,
      save: async (remembered: RememberedHistory) => {
        // The revision is noted with each answer; StoreHistory saves it by a timer, in real time.
        if (disk.history?.id !== remembered.id) disk.history = remembered;
      },
    };
    this.#history = new StoreHistory(this.#source(), { host, memory });
    this.#store = server.store.for(host);
    this.name = this.#store.name;
    this.properties = this.#store.properties;
  }

  get historyId(): string | undefined {
    return this.#history.id;
  }

  openSession: TicketStore['openSession'] = (request) =>
    this.#history.ask(async () => {
      const opened = await this.#send('openSession', () => this.#store.openSession(request));
      await this.#history.cover(opened.ttlMs);
      return opened;
    });

  renewSession: TicketStore['renewSession'] = (id) =>
    this.#call('renewSession', () => this.#store.renewSession(id));

  closeSession: TicketStore['closeSession'] = (id) =>
    this.#call('closeSession', () => this.#store.closeSession(id));

  sessionAlive: TicketStore['sessionAlive'] = (id) =>
    this.#call('sessionAlive', () => this.#store.sessionAlive(id));

  enqueue: TicketStore['enqueue'] = (request) =>
    this.#grant('enqueue', request, (store) => store.enqueue(request));

  tryEnqueue: TicketStore['tryEnqueue'] = (request) =>
    this.#grant('tryEnqueue', request, (store) => store.tryEnqueue(request));

  place: TicketStore['place'] = (ticket) =>
    this.#grant('place', {}, (store) => store.place(ticket));

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
    const { link, clock } = this.#options;
    return new WatchOfHistory({
      ...{ link, clock, watcher, history: this.#history },
      follow: (remote) => this.#store.watch(remote),
      onConnected: () => this.#reconnect(),
    });
  }

  showsAllOn(): boolean {
    return this.#history.isVerified;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#history[Symbol.asyncDispose]();
  }

  #call<T>(method: StoreMethod, step: () => Promise<T>): Promise<T> {
    return this.#history.ask(() => this.#send(method, step));
  }

  /** Makes a call that may grant, under the condition that the quarantine lets it. */
  #grant<T>(
    method: StoreMethod,
    { proof }: { readonly proof?: number | undefined },
    step: (store: TicketStore) => Promise<T>,
  ): Promise<T> {
    return this.#history.ask(async () => {
      if (proof !== undefined) this.#history.requireLast(proof);
      const { server, host } = this.#options;
      const { id } = this.#history;
      const mayBeGranted: MayBeGranted = (given) => {
        const { quarantine } = server;
        if (given !== undefined && quarantine !== undefined && quarantine !== id) {
          throw new StoreUnavailableError('the quarantine is of another history');
        }
        this.#history.requireOpen(quarantine !== undefined, given);
      };
      return this.#send(method, () => step(server.store.for(host, mayBeGranted)));
    });
  }

  /** Sends a request, without a look at the history. */
  async #send<T>(method: string, step: () => Promise<T>): Promise<T> {
    const { server, link, disk } = this.#options;
    const life = this.#life;
    const floor = this.#signs.revision;
    const arrive = async () => {
      if (server.life !== life) throw new ConnectionBrokenError('the server has started again');
      const answer = await step();
      return { answer, cluster: server.cluster, revision: server.revision };
    };
    try {
      const { answer, cluster, revision } = await link.call(
        method,
        arrive,
        (why) => new ConnectionBrokenError(why),
      );
      // An answer that was under way when the connection broke tells nothing of this server.
      if (life === this.#life) this.#signs.heard(cluster, revision, floor);
      const { history } = disk;
      if (history?.id === this.#history.id && history && this.#signs.revision > history.revision) {
        disk.history = { ...history, revision: this.#signs.revision };
      }
      return answer;
    } catch (error) {
      if (error instanceof ConnectionBrokenError) this.#reconnect();
      throw error;
    }
  }

  #reconnect(): void {
    this.#life = this.#options.server.life;
    this.#signs.suspect();
  }

  #source(): HistorySource<SimulatedLook> {
    const { server } = this.#options;
    return {
      name: 'the store',
      signs: this.#signs,
      read: () => this.#send('look', async () => server.look()),
      judge: (found, known, floor) => {
        const { record, revision, cluster } = found;
        const why = record && record.cluster !== cluster ? 'it was restored' : undefined;
        return judgeHistory(record, known, { revision, floor, why }, 'the store');
      },
      write: (found: SimulatedLook, begun: NewHistory) =>
        this.#send('begin', async () => server.write(found, begun)),
      raiseTtl: (found: SimulatedLook, raised: HistoryRecord) =>
        this.#send('raise', async () => server.raiseTtl(found, raised)),
    };
  }
}
