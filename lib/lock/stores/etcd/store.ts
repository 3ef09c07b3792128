import type { EtcdClient } from '../../../etcd/client.ts';
import { readAll } from '../../../etcd/client.ts';
import type { Condition } from '../../condition.ts';
import { SessionGoneError } from '../../errors.ts';
import { isPermanent, permanentSessionOf } from '../../permanent-session.ts';
import type { Gate, Ticket, TicketRequest } from '../../ticket.ts';
import type {
  Committed,
  Disabled,
  Granted,
  GuardedChange,
  OpenSession,
  Placement,
  Refused,
  SessionRequest,
  StoredRecord,
  StoreWatcher,
  TicketStore,
  Waiting,
} from '../ticket-store.ts';
import type { Transact } from './batches.ts';
import { EtcdBatches } from './batches.ts';
import { commitRequest, revisionOfRepeat } from './commit.ts';
import { followEtcd } from './follow.ts';
import { etcdHealth } from './health.ts';
import { EtcdKeys } from './keys.ts';
import { EtcdQueue } from './queue.ts';
import { EtcdSlots } from './slots.ts';
import { calling, foundIn, isAbsent } from './txn.ts';

/**
 * Keeps tickets in etcd v3, for many hosts. A session is a lease; a permanent session is only a
 * name. `keys.ts` has the layout of the keys.
 *
 *     enqueue, commit … ─► EtcdQueue, commit.ts   one Txn each: compare, then put or range
 *                            │     EtcdSlots      reuses keys, except those in doubt
 *                            ▼
 *                          EtcdBatches            group commit: Txns that meet share one
 *                            ▼
 *                          EtcdClient.txn         with a deadline
 *
 *     watch ─► follow.ts   one watch below the prefix; after a break, the whole state again
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
  /** The keys below the prefix with values that berth did not write, as the watch has seen them. */
  readonly #foreign = new Set<string>();

  /** `prefix`: berth's own part of etcd's key space. The store closes the client at the end. */
  constructor(client: EtcdClient, prefix: string) {
    this.#client = client;
    this.#keys = new EtcdKeys(prefix);
    const transact: Transact = (request, timeoutMs) => client.txn(request, timeoutMs);
    this.#batches = new EtcdBatches(transact, client.callTimeoutMs);
    this.#queue = new EtcdQueue(this.#batches, this.#keys, this.#slots);
  }

  async openSession(request: SessionRequest): Promise<OpenSession> {
    const { resume, owner } = request;
    if (request.ttlMs === Number.POSITIVE_INFINITY) {
      return { id: permanentSessionOf(owner), ttlMs: request.ttlMs, resumed: true };
    }
    if (resume !== undefined) {
      const ttlMs = await this.renewSession(resume).then(
        (renewed) => renewed.ttlMs,
        (error) => {
          if (error instanceof SessionGoneError) return undefined;
          throw error;
        },
      );
      if (ttlMs !== undefined) return { id: resume, ttlMs, resumed: true };
    }
    return calling(async () => {
      const { id, ttlSeconds } = await this.#client.leaseGrant(Math.ceil(request.ttlMs / 1000));
      return { id, ttlMs: ttlSeconds * 1000, resumed: false };
    });
  }

  async renewSession(id: string): Promise<{ ttlMs: number }> {
    if (isPermanent(id)) return { ttlMs: Number.POSITIVE_INFINITY };
    return calling(async () => ({ ttlMs: (await this.#client.leaseKeepAlive(id)) * 1000 }));
  }

  async closeSession(id: string): Promise<void> {
    if (isPermanent(id)) {
      const tickets = await this.tickets();
      const own = tickets.filter(({ session }) => session === id);
      await Promise.all(own.map((ticket) => this.remove(ticket)));
      return;
    }
    await calling(() => this.#client.leaseRevoke(id)).catch((error) => {
      if (!(error instanceof SessionGoneError)) throw error;
    });
  }

  async sessionAlive(id: string): Promise<boolean> {
    if (isPermanent(id)) return false;
    return calling(async () => {
      const { leftSeconds, grantedSeconds } = await this.#client.leaseTimeToLive(id);
      // Its holder renews it every third of the TTL: below half, a renewal is missing.
      return leftSeconds >= grantedSeconds / 2;
    }).catch((error) => {
      if (error instanceof SessionGoneError) return false;
      throw error;
    });
  }

  enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled> {
    return calling(() => this.#queue.enqueue(request));
  }

  tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled> {
    return calling(() => this.#queue.tryEnqueue(request));
  }

  place(ticket: Ticket): Promise<Placement> {
    return calling(() => this.#queue.place(ticket));
  }

  stands(ticket: Ticket): Promise<boolean> {
    return calling(() => this.#queue.stands(ticket));
  }

  remove(ticket: Ticket | TicketRequest, claim?: string): Promise<void> {
    return calling(() => this.#queue.remove(ticket, claim));
  }

  async commit(change: GuardedChange): Promise<Committed> {
    const answer = await calling(() => this.#batches.send(commitRequest(change, this.#keys)));
    const now = Number(answer.header.revision);
    const revision = answer.succeeded
      ? now
      : revisionOfRepeat(change, this.#keys, foundIn(answer.responses), now);
    for (const ticket of change.release) this.#slots.free(ticket);
    return { revision };
  }

  async tickets(lockName?: string): Promise<readonly Ticket[]> {
    const prefix =
      lockName === undefined ? this.#keys.locksPrefix : this.#keys.lockPrefix(lockName);
    return calling(async () => {
      const { kvs } = await readAll(this.#client, prefix);
      const isAll = lockName === undefined;
      return this.#keys.parseTickets(isAll ? kvs.filter((kv) => !this.#keys.isForeign(kv)) : kvs);
    });
  }

  async record(key: string): Promise<StoredRecord | undefined> {
    return calling(async () => {
      const { kvs } = await this.#client.range({ key: this.#keys.recordKey(key) });
      return kvs[0] && this.#keys.parseRecord(kvs[0]);
    });
  }

  async records(prefix: string): Promise<readonly StoredRecord[]> {
    return calling(async () => {
      const { kvs } = await readAll(this.#client, `${this.#keys.recordsPrefix}${prefix}`);
      return kvs.map((kv) => this.#keys.parseRecord(kv));
    });
  }

  async closeGate(gate: Gate): Promise<void> {
    const key = this.#keys.gateKey(gate.lockName);
    const value = Buffer.from(JSON.stringify(gate));
    await calling(() =>
      this.#client.txn({
        compare: [isAbsent(key)],
        success: [{ request_put: { key, value } }],
        failure: [],
      }),
    );
  }

  async openGate(lockName: string): Promise<void> {
    const key = this.#keys.gateKey(lockName);
    await calling(() =>
      this.#client.txn({ compare: [], success: [{ request_delete_range: { key } }], failure: [] }),
    );
  }

  async gates(): Promise<readonly Gate[]> {
    return calling(async () => {
      const { kvs } = await readAll(this.#client, this.#keys.locksPrefix);
      return this.#keys.parseGates(kvs);
    });
  }

  health(): Promise<readonly Condition[]> {
    return etcdHealth(this.#client, this.#keys.prefix, this.#foreign);
  }

  watch(watcher: StoreWatcher): Disposable {
    return followEtcd(this.#client, this.#keys, watcher, this.#foreign);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}
