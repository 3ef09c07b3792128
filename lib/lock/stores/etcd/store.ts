import type { EtcdClient } from '../../../etcd/client.ts';
import { within } from '../../../etcd/client.ts';
import { readAll } from '../../../etcd/ranges.ts';
import type { Condition } from '../../condition.ts';
import { SessionGoneError } from '../../errors.ts';
import { isPermanent } from '../../permanent-session.ts';
import type { Gate, Ticket, TicketRequest } from '../../ticket.ts';
import type { HistoryOptions } from '../history-source.ts';
import type {
  Committed,
  Disabled,
  Granted,
  GuardedChange,
  OpenSession,
  Placement,
  RecordNote,
  Refused,
  SessionRequest,
  StoredRecord,
  StoreMember,
  StoreWatcher,
  TicketStore,
  Waiting,
} from '../ticket-store.ts';
import type { Transact } from './batches.ts';
import { EtcdBatches } from './batches.ts';
import { commitRequest, revisionOfRepeat } from './commit.ts';
import { followEtcd } from './follow.ts';
import type { SeenMembers } from './health.ts';
import { etcdHealth, lookLimitMs, seeMembers } from './health.ts';
import { EtcdHistory } from './history.ts';
import { EtcdKeys } from './keys.ts';
import { EtcdQueue } from './queue.ts';
import { EtcdSessions } from './sessions.ts';
import { EtcdSlots } from './slots.ts';
import { describeMembers } from './store-members.ts';
import { calling, foundIn, isAbsent } from './txn.ts';

/**
 * Keeps tickets in etcd v3, for many hosts. A session is a lease; a permanent session is only a
 * name (`sessions.ts`). `keys.ts` has the layout of the keys.
 *
 *     enqueue, commit … ─► EtcdQueue, commit.ts   one Txn each: compare, then put or range (ticket-parts.ts, removal.ts)
 *                            │     EtcdSlots      reuses keys, except those in doubt
 *                            ▼
 *                          EtcdBatches            group commit: Txns that meet share one
 *                            ▼
 *                          EtcdClient.txn         with a deadline
 *
 *     watch ─► follow.ts   one watch below the prefix; after a break, it goes on from the last revision
 *
 *     each call ─► EtcdHistory   refuses answers of another history than before
 *
 * Guarantees: a ticket's token is its keys' create revision, so tokens follow etcd's total order.
 * Reads are linearizable, so a member that is cut off answers nothing. Keys with foreign values are
 * reported by `health` and do not stop other locks.
 */
export class EtcdStore implements TicketStore {
  readonly name = 'etcd';
  readonly properties = {
    sessionsExpire: true,
    sessionsResume: true,
    multiProcess: true,
    multiHost: true,
  };
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;
  readonly #slots = new EtcdSlots(() => performance.now());
  readonly #batches: EtcdBatches;
  readonly #queue: EtcdQueue;
  readonly #sessions: EtcdSessions;
  readonly #history: EtcdHistory;
  /** The keys below the prefix with values that berth did not write, as the watch has seen them. */
  readonly #foreign = new Set<string>();
  /** The look at the members that is under way. */
  #seeing: Promise<SeenMembers> | undefined;

  /** `prefix`: berth's own part of etcd's key space. The store closes the client at the end. */
  constructor(client: EtcdClient, prefix: string, options: HistoryOptions = {}) {
    this.#client = client;
    this.#keys = new EtcdKeys(prefix);
    const transact: Transact = (request, timeoutMs) => client.txn(request, timeoutMs);
    this.#batches = new EtcdBatches(transact, client.callTimeoutMs);
    this.#history = new EtcdHistory(client, this.#keys, options);
    this.#sessions = new EtcdSessions(client, this.#keys);
    this.#queue = new EtcdQueue({
      ...{ batches: this.#batches, keys: this.#keys, slots: this.#slots },
      ...{ history: this.#history, sessions: this.#sessions },
    });
  }

  get historyId(): string | undefined {
    return this.#history.id;
  }

  async openSession(request: SessionRequest): Promise<OpenSession> {
    return this.#calling(async () => {
      const opened = await this.#sessions.open(request);
      if (!isPermanent(opened.id)) await this.#history.cover(opened.ttlMs);
      return opened;
    });
  }

  async renewSession(id: string): Promise<{ ttlMs: number }> {
    if (isPermanent(id)) return { ttlMs: Number.POSITIVE_INFINITY };
    return this.#calling(async () => ({ ttlMs: await this.#sessions.renew(id) }));
  }

  async closeSession(id: string): Promise<void> {
    if (isPermanent(id)) {
      const tickets = await this.tickets();
      const own = tickets.filter(({ session }) => session === id);
      await Promise.all(own.map((ticket) => this.remove(ticket)));
      return;
    }
    await this.#calling(() => this.#sessions.close(id)).catch((error) => {
      if (!(error instanceof SessionGoneError)) throw error;
    });
  }

  async sessionAlive(id: string): Promise<boolean> {
    if (isPermanent(id)) return false;
    return this.#calling(async () => {
      const { leftSeconds, grantedSeconds } = await this.#client.leaseTimeToLive(id);
      // Its holder renews it every third of the TTL: below half, a renewal is missing.
      return leftSeconds >= grantedSeconds / 2;
    }).catch((error) => {
      if (error instanceof SessionGoneError) return false;
      throw error;
    });
  }

  enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled> {
    return this.#calling(() => this.#queue.enqueue(request));
  }

  tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled> {
    return this.#calling(() => this.#queue.tryEnqueue(request));
  }

  place(ticket: Ticket): Promise<Placement> {
    return this.#calling(() => this.#queue.place(ticket));
  }

  stands(ticket: Ticket): Promise<boolean> {
    return this.#calling(() => this.#queue.stands(ticket));
  }

  remove(ticket: Ticket | TicketRequest, claim?: string, note?: RecordNote): Promise<void> {
    return this.#calling(() => this.#queue.remove(ticket, claim, note));
  }

  async commit(change: GuardedChange): Promise<Committed> {
    const request = commitRequest(change, this.#keys, this.#sessions);
    const answer = await this.#calling(() => this.#batches.send(request));
    const now = Number(answer.header.revision);
    const revision = answer.succeeded
      ? now
      : revisionOfRepeat(change, this.#keys, this.#sessions, {
          found: foundIn(answer.responses),
          now,
        });
    for (const ticket of change.release) this.#slots.free(ticket);
    return { revision };
  }

  async tickets(lockName?: string): Promise<readonly Ticket[]> {
    const prefix =
      lockName === undefined ? this.#keys.locksPrefix : this.#keys.lockPrefix(lockName);
    return this.#calling(async () => {
      const { kvs } = await readAll(this.#client, prefix);
      const isAll = lockName === undefined;
      return this.#keys.parseTickets(isAll ? kvs.filter((kv) => !this.#keys.isForeign(kv)) : kvs);
    });
  }

  async record(key: string): Promise<StoredRecord | undefined> {
    return this.#calling(async () => {
      const { kvs } = await this.#client.range({ key: this.#keys.recordKey(key) });
      return kvs[0] && this.#keys.parseRecord(kvs[0]);
    });
  }

  async records(prefix: string): Promise<readonly StoredRecord[]> {
    return this.#calling(async () => {
      const { kvs } = await readAll(this.#client, `${this.#keys.recordsPrefix}${prefix}`);
      return kvs.map((kv) => this.#keys.parseRecord(kv));
    });
  }

  async closeGate(gate: Gate): Promise<void> {
    const key = this.#keys.gateKey(gate.lockName);
    const value = Buffer.from(JSON.stringify(gate));
    await this.#calling(() =>
      this.#client.txn({
        compare: [isAbsent(key)],
        success: [{ request_put: { key, value } }],
        failure: [],
      }),
    );
  }

  async openGate(lockName: string): Promise<void> {
    const key = this.#keys.gateKey(lockName);
    await this.#calling(() =>
      this.#client.txn({ compare: [], success: [{ request_delete_range: { key } }], failure: [] }),
    );
  }

  async gates(): Promise<readonly Gate[]> {
    return this.#calling(async () => {
      const { kvs } = await readAll(this.#client, this.#keys.locksPrefix);
      return this.#keys.parseGates(kvs);
    });
  }

  async health(): Promise<readonly Condition[]> {
    const found = await Promise.all([
      etcdHealth(this.#client, this.#keys.prefix, this.#foreign, this.#seeMembers()),
      within(lookLimitMs, this.#history.conditions()).catch(() => []), // That etcd is slow is said above.
    ]);
    return found.flat();
  }

  async members(): Promise<readonly StoreMember[]> {
    const { members, names } = await this.#seeMembers();
    return describeMembers(members, names);
  }

  watch(watcher: StoreWatcher): Disposable {
    return followEtcd({
      client: this.#client,
      keys: this.#keys,
      watcher,
      foreign: this.#foreign,
      history: this.#history,
    });
  }

  showsAllOn(lockName: string): boolean {
    if (!this.#client.reportsAll || !this.#history.isVerified) return false;
    const prefix = this.#keys.lockPrefix(lockName);
    return ![...this.#foreign.values()].some((key) => key.startsWith(prefix));
  }

  /** Callers who ask while an answer is under way share that answer. */
  #seeMembers(): Promise<SeenMembers> {
    this.#seeing ??= seeMembers(this.#client).finally(() => {
      this.#seeing = undefined;
    });
    return this.#seeing;
  }

  /** Makes a call to etcd, whose answer is of the present history. */
  #calling<T>(call: () => Promise<T>): Promise<T> {
    return calling(() => this.#history.ask(call));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#history[Symbol.asyncDispose]();
    await this.#client.close();
  }
}
