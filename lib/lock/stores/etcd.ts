import type { EtcdClient, ICompare, IKeyValue, IRequestOp, ITxnRequest } from '../../etcd.ts';
import { LeaseGoneError, readAll } from '../../etcd.ts';
import { SessionGoneError, StoreUnavailableError } from '../errors.ts';
import type { Ticket, TicketRequest } from '../ticket.ts';
import { followEtcd } from './etcd-follow.ts';
import { EtcdKeys, ticketValue } from './etcd-keys.ts';
import { EtcdSlots } from './etcd-slots.ts';
import { judgeChange } from './guarded-change.ts';
import type {
  Committed,
  Granted,
  GuardedChange,
  OpenSession,
  Placement,
  RecordWrite,
  Refused,
  SessionRequest,
  StoredRecord,
  StoreWatcher,
  TicketStore,
  Waiting,
} from './ticket-store.ts';

/**
 * Tickets on etcd v3. A session is a lease; a ticket is one key per lock, all written in one Txn,
 * so they share one create revision: its token. See etcd-keys.ts for the layout.
 */
export class EtcdStore implements TicketStore {
  readonly name = 'etcd';
  readonly properties = { sessionsExpire: true, multiHost: true };
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;
  readonly #slots = new EtcdSlots(() => performance.now());

  /** `prefix` is the part of etcd's key space that is berth's own. Closes the client at the end. */
  constructor(client: EtcdClient, prefix: string) {
    this.#client = client;
    this.#keys = new EtcdKeys(prefix);
  }

  async openSession(request: SessionRequest): Promise<OpenSession> {
    const { resume } = request;
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
    return calling(async () => ({ ttlMs: (await this.#client.leaseKeepAlive(id)) * 1000 }));
  }

  async closeSession(id: string): Promise<void> {
    await calling(() => this.#client.leaseRevoke(id)).catch((error) => {
      if (!(error instanceof SessionGoneError)) throw error;
    });
  }

  async sessionAlive(id: string): Promise<boolean> {
    return calling(async () => {
      const { leftSeconds, grantedSeconds } = await this.#client.leaseTimeToLive(id);
      // Renewed every third of its TTL: below half, a renewal has been missed.
      return leftSeconds >= grantedSeconds / 2;
    }).catch((error) => {
      if (error instanceof SessionGoneError) return false;
      throw error;
    });
  }

  async enqueue(request: TicketRequest): Promise<Granted | Waiting> {
    const id = this.#slots.idFor(request);
    const keys = this.#keys.ticketKeys({ id, locks: request.locks });
    return (await this.#takeIfFree(request, id, keys)) ?? this.#queue(request, id, keys);
  }

  async tryEnqueue(request: TicketRequest): Promise<Granted | Refused> {
    const id = this.#slots.idFor(request);
    const keys = this.#keys.ticketKeys({ id, locks: request.locks });
    const { succeeded, revision, found } = await this.#write(request, {
      compare: this.#isFree(request, keys),
      success: this.#puts(request, keys),
      failure: [
        ...request.locks.map((lock) => ({ request_range: this.#keys.nearestConflict(lock) })),
        ...keys.map((key) => ({ request_range: { key } })),
      ],
    });
    if (succeeded) return { state: 'granted', ticket: { ...request, id, token: revision } };
    const own = new Set(keys.map(String));
    const mine = found.filter((kv) => own.has(kv.key.toString()));
    if (mine.length > 0) {
      const earlier = await this.#earlier(request, mine);
      if (earlier?.state === 'granted') return earlier;
      if (earlier === undefined) return this.tryEnqueue(request);
    }
    this.#slots.free(request);
    const theirs = found.filter((kv) => !own.has(kv.key.toString()));
    return { state: 'refused', blockers: this.#keys.parseTickets(theirs) };
  }

  async place(ticket: Ticket): Promise<Placement> {
    return calling(async () => {
      const answer = await this.#client.txn({
        compare: this.#keys.ticketKeys(ticket).map((key) => hasToken(key, ticket.token)),
        success: ticket.locks.map((lock) => ({
          request_range: this.#keys.nearestConflict(lock, ticket.token),
        })),
        failure: [],
      });
      if (!answer.succeeded) return { state: 'gone' };
      const blockers = this.#keys.parseTickets(rangesOf(answer.responses));
      if (blockers.length === 0) return { state: 'granted', ticket };
      return { state: 'waiting', ticket, blockers, revision: Number(answer.header.revision) };
    });
  }

  async remove(ticket: Ticket | TicketRequest): Promise<void> {
    const id = 'id' in ticket ? ticket.id : this.#slots.idFor(ticket);
    const keys = this.#keys.ticketKeys({ id, locks: ticket.locks });
    const still: (key: Buffer) => ICompare =
      'token' in ticket
        ? (key) => hasToken(key, ticket.token)
        : (key) => ({ target: 'Value', result: 'Equal', key, value: ticketValue(ticket) });
    const removals = keys.map((key) => ({
      compare: [still(key)],
      success: [{ request_delete_range: { key } }],
      failure: [],
    }));
    const [only] = removals;
    // Each key by itself: one that is gone must not keep the others.
    const txn =
      removals.length === 1 && only
        ? only
        : { compare: [], success: removals.map((r) => ({ request_txn: r })), failure: [] };
    await calling(() => this.#client.txn(txn));
    this.#slots.free(ticket);
  }

  async commit(change: GuardedChange): Promise<Committed> {
    const guards = [...new Set([...change.guards, ...change.release])];
    const guardKeys = guards.flatMap((ticket) => this.#keys.ticketKeys(ticket));
    const answer = await calling(() =>
      this.#client.txn({
        compare: [
          ...guards.flatMap((ticket) =>
            this.#keys.ticketKeys(ticket).map((key) => hasToken(key, ticket.token)),
          ),
          ...change.writes.flatMap((write) => this.#expectation(write)),
        ],
        success: [
          ...change.writes.map((write) => this.#recordOp(write)),
          ...change.release.flatMap((ticket) =>
            this.#keys.ticketKeys(ticket).map((key) => ({ request_delete_range: { key } })),
          ),
        ],
        failure: [
          ...change.writes.map(({ key }) => ({
            request_range: { key: this.#keys.recordKey(key) },
          })),
          ...guardKeys.map((key) => ({ request_range: { key, keys_only: true } })),
        ],
      }),
    );
    const revision = answer.succeeded
      ? Number(answer.header.revision)
      : this.#revisionOfRepeat(change, rangesOf(answer.responses), answer.header.revision);
    for (const ticket of change.release) this.#slots.free(ticket);
    return { revision };
  }

  async tickets(lockName?: string): Promise<readonly Ticket[]> {
    const prefix =
      lockName === undefined ? this.#keys.locksPrefix : this.#keys.lockPrefix(lockName);
    return calling(async () => this.#keys.parseTickets((await readAll(this.#client, prefix)).kvs));
  }

  async record(key: string): Promise<StoredRecord | undefined> {
    return calling(async () => {
      const { kvs } = await this.#client.range({ key: this.#keys.recordKey(key) });
      return kvs[0] && this.#keys.parseRecord(kvs[0]);
    });
  }

  watch(watcher: StoreWatcher): Disposable {
    return followEtcd(this.#client, this.#keys, watcher);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }

  /** The usual case, in the smallest Txn: nobody is in the way. Undefined: somebody is. */
  async #takeIfFree(
    request: TicketRequest,
    id: string,
    keys: readonly Buffer[],
  ): Promise<Granted | undefined> {
    const { succeeded, revision } = await this.#write(request, {
      compare: this.#isFree(request, keys),
      success: this.#puts(request, keys),
      failure: [],
    });
    if (!succeeded) return undefined;
    return { state: 'granted', ticket: { ...request, id, token: revision } };
  }

  /** Queues behind whoever is there; a repeat finds the ticket that it wrote before. */
  async #queue(
    request: TicketRequest,
    id: string,
    keys: readonly Buffer[],
  ): Promise<Granted | Waiting> {
    const { succeeded, revision, found } = await this.#write(request, {
      compare: keys.map(isAbsent),
      // The ranges run before the puts, so what they see is lower than this ticket.
      success: [
        ...request.locks.map((lock) => ({ request_range: this.#keys.nearestConflict(lock) })),
        ...this.#puts(request, keys),
      ],
      failure: keys.map((key) => ({ request_range: { key } })),
    });
    if (!succeeded) return (await this.#earlier(request, found)) ?? this.enqueue(request);
    const ticket = { ...request, id, token: revision };
    const blockers = this.#keys.parseTickets(found);
    if (blockers.length === 0) return { state: 'granted', ticket };
    return { state: 'waiting', ticket, blockers, revision };
  }

  /** No conflicting ticket, nor one in the request's own place (which an exclusive lock covers). */
  #isFree(request: TicketRequest, keys: readonly Buffer[]): ICompare[] {
    return request.locks.flatMap((lock, index) => {
      const own = keys[index];
      const conflicts = isAbsent(this.#keys.conflictRange(lock));
      return lock.mode === 'exclusive' || !own ? [conflicts] : [conflicts, isAbsent(own)];
    });
  }

  #puts(request: TicketRequest, keys: readonly Buffer[]): IRequestOp[] {
    const value = ticketValue(request);
    return keys.map((key) => ({ request_put: { key, value, lease: request.session } }));
  }

  /** A Txn that writes a ticket. When its outcome stays unknown, so does its place. */
  async #write(
    request: TicketRequest,
    txn: ITxnRequest,
  ): Promise<{ succeeded: boolean; revision: number; found: IKeyValue[] }> {
    try {
      const answer = await calling(() => this.#client.txn(txn));
      return {
        succeeded: answer.succeeded,
        revision: Number(answer.header.revision),
        found: rangesOf(answer.responses),
      };
    } catch (error) {
      if (error instanceof SessionGoneError) this.#slots.free(request);
      else this.#slots.doubt(request);
      throw error;
    }
  }

  /**
   * The place of a request was taken. By the request itself, in an attempt whose answer was lost:
   * answers where that ticket stands. By an earlier life of this session: undefined, and the
   * request has got another place.
   */
  async #earlier(
    request: TicketRequest,
    found: readonly IKeyValue[],
  ): Promise<Granted | Waiting | undefined> {
    const mine = this.#keys.parseTickets(found).find(({ nonce }) => nonce === request.nonce);
    const placement = mine && (await this.place(mine));
    if (placement && placement.state !== 'gone') return placement;
    this.#slots.move(request);
    return undefined;
  }

  #expectation(write: RecordWrite): ICompare[] {
    if (write.expectedRevision === undefined) return [];
    const key = this.#keys.recordKey(write.key);
    return [{ target: 'Mod', result: 'Equal', key, mod_revision: write.expectedRevision }];
  }

  #recordOp({ key, value }: RecordWrite): IRequestOp {
    const stored = this.#keys.recordKey(key);
    return value === undefined
      ? { request_delete_range: { key: stored } }
      : { request_put: { key: stored, value: Buffer.from(value) } };
  }

  /** A commit was refused: throws why, unless this very change has been made before. */
  #revisionOfRepeat(
    change: GuardedChange,
    found: readonly IKeyValue[],
    currentRevision: string,
  ): number {
    const byKey = new Map(found.map((kv) => [kv.key.toString(), kv]));
    const judgement = judgeChange(change, {
      exists: (ticket) =>
        this.#keys.ticketKeys(ticket).every((key) => {
          return Number(byKey.get(key.toString())?.create_revision) === ticket.token;
        }),
      record: (key) => {
        const kv = byKey.get(this.#keys.recordKey(key).toString());
        return kv && this.#keys.parseRecord(kv);
      },
    });
    if (judgement.state === 'refused') throw judgement.error;
    if (judgement.state === 'made') return judgement.revision ?? Number(currentRevision);
    throw new StoreUnavailableError('etcd refused a change that its own answer allows');
  }
}

function isAbsent(key: Buffer | { key: Buffer; range_end: Buffer }): ICompare {
  const range = Buffer.isBuffer(key) ? { key } : key;
  return { target: 'Create', result: 'Equal', create_revision: 0, ...range };
}

function hasToken(key: Buffer, token: number): ICompare {
  return { target: 'Create', result: 'Equal', key, create_revision: token };
}

function rangesOf(
  responses: readonly { response_range?: { kvs: IKeyValue[] } | null }[],
): IKeyValue[] {
  return responses.flatMap((response) => response.response_range?.kvs ?? []);
}

/** Runs a call to etcd and names its failure in the port's words. */
async function calling<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof LeaseGoneError) {
      throw new SessionGoneError(error.message, { cause: error });
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new StoreUnavailableError(`etcd does not answer: ${why}`, { cause: error });
  }
}
