import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type {
  Granted,
  Refused,
  StoredRecord,
  TicketStore,
  Waiting,
} from '../../../lib/lock/stores/ticket-store.ts';
import type { LockRequest, Ticket, TicketRequest } from '../../../lib/lock/ticket.ts';
import { patience } from '../../support/processes.ts';

/** A store under test, given to the suite by the store's test file; made for each test. */
export interface StoreFixture {
  /** Connects another client to the same store, as from another host. The suite disposes of it. */
  connect(): Promise<TicketStore>;
  /** Called last, after all clients were disposed of. */
  dispose(): Promise<void>;
  /**
   * Resolves once a session opened with `shortTtlMs` has ended as if its host had crashed.
   * Sessions opened with `longTtlMs` must still live then. Stores whose sessions never expire omit
   * this.
   */
  expireSession?(id: string): Promise<void>;
  /** True when a step takes milliseconds even at rest; long series are then a tenth as long. */
  readonly isSlow?: true;
}

export const shortTtlMs = 2000;
export const longTtlMs = 60_000;

/** One host: a connection with a session on it. */
export class Client {
  readonly host: string;
  readonly store: TicketStore;
  readonly session: string;

  constructor(host: string, store: TicketStore, session: string) {
    this.host = host;
    this.store = store;
    this.session = session;
  }

  request(...locks: readonly (string | LockRequest)[]): TicketRequest {
    return {
      session: this.session,
      nonce: randomUUID(),
      locks: locks.map((lock) => (typeof lock === 'string' ? exclusive(lock) : lock)),
      kind: 'mount',
      owner: this.host,
      holder: { host: this.host, reason: 'Mount', since: '2026-01-02T03:04:05Z', detail: 'ünit' },
    };
  }

  async enqueue(...locks: readonly (string | LockRequest)[]): Promise<Granted | Waiting> {
    return enabled(await this.store.enqueue(this.request(...locks)));
  }

  async tryEnqueue(...locks: readonly (string | LockRequest)[]): Promise<Granted | Refused> {
    return enabled(await this.store.tryEnqueue(this.request(...locks)));
  }

  /** Returns a granted ticket; throws when it would have to wait. */
  async hold(...locks: readonly (string | LockRequest)[]): Promise<Ticket> {
    const answer = await this.tryEnqueue(...locks);
    if (answer.state !== 'granted') throw new Error(`${this.host} was refused`);
    return answer.ticket;
  }

  /** Returns a ticket that has to wait; throws when it is granted. */
  async queue(...locks: readonly (string | LockRequest)[]): Promise<Ticket> {
    const answer = await this.enqueue(...locks);
    if (answer.state !== 'waiting') throw new Error(`${this.host} did not have to wait`);
    return answer.ticket;
  }

  /** Writes one record under one ticket. */
  async write(
    guard: Ticket,
    key: string,
    value: string | undefined,
    expectedRevision?: number,
  ): Promise<number> {
    const write = { key, value, ...(expectedRevision !== undefined && { expectedRevision }) };
    const { revision } = await this.store.commit({ guards: [guard], writes: [write], release: [] });
    return revision;
  }
}

/** Three hosts on one store, through one connection or through three. */
export class StoreBench implements AsyncDisposable {
  readonly fixture: StoreFixture;
  readonly #stores: readonly TicketStore[];
  readonly clients: readonly [Client, Client, Client];

  private constructor(
    fixture: StoreFixture,
    stores: readonly TicketStore[],
    clients: readonly [Client, Client, Client],
  ) {
    this.fixture = fixture;
    this.#stores = stores;
    this.clients = clients;
  }

  static async open(fixture: StoreFixture, connections: 1 | 3): Promise<StoreBench> {
    const first = await fixture.connect();
    const others =
      connections === 1 ? undefined : [await fixture.connect(), await fixture.connect()];
    const clients = [
      await clientOf(first, 'n1'),
      await clientOf(others?.[0] ?? first, 'n2'),
      await clientOf(others?.[1] ?? first, 'n3'),
    ] as const;
    return new StoreBench(fixture, [first, ...(others ?? [])], clients);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { store, session } of this.clients) await store.closeSession(session);
    for (const store of this.#stores) await store[Symbol.asyncDispose]();
    await this.fixture.dispose();
  }
}

/** Gives the groups of a suite the bench of the running test. */
export type BenchOf = () => StoreBench;

/** Adds a host on an existing connection. */
export async function clientOf(
  store: TicketStore,
  owner: string,
  ttlMs = longTtlMs,
): Promise<Client> {
  const { id } = await store.openSession({ ttlMs, owner, resumable: false });
  return new Client(owner, store, id);
}

export function exclusive(name: string): LockRequest {
  return { name, mode: 'exclusive' };
}

/** Returns the answer of a store; throws when a gate is closed. */
export function enabled<T extends { readonly state: string }>(
  answer: T,
): Exclude<T, { readonly state: 'disabled' }> {
  if (answer.state === 'disabled') throw new Error('a gate is closed');
  return answer as Exclude<T, { readonly state: 'disabled' }>;
}

export function shared(name: string): LockRequest {
  return { name, mode: 'shared' };
}

/** A permit of a lock with two, unless the test says another number. */
export function permit(name: string, permits = 2): LockRequest {
  return { name, mode: 'permit', permits };
}

/** Resolves when `check` no longer throws; rejects with its last error after `limitMs`. */
export async function eventually(check: () => void | Promise<void>, limitMs = 5000): Promise<void> {
  const giveUpAt = performance.now() + limitMs * patience;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
    }
    await pause(5);
  }
}

/** Replaces a test of expiry for stores without expiry: checks that the store says so. */
export function neverExpires({ name, properties }: TicketStore): void {
  if (properties.sessionsExpire) throw new Error(`nobody knows how to expire a ${name} session`);
}

export async function recordsOf(
  store: TicketStore,
  keys: readonly string[],
): Promise<StoredRecord[]> {
  const records = await Promise.all(keys.map((key) => store.record(key)));
  return records.filter((record) => record !== undefined);
}
