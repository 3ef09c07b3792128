import type { IEvent, IRangeRequest, IRangeResponse, ITxnRequest, ITxnResponse } from 'etcd3';
import { EtcdConnection } from './connection.ts';
import {
  callError,
  EtcdCallError,
  EtcdRefusedError,
  isOutdatedLogin,
  LeaseGoneError,
} from './errors.ts';
import type { AnswerHeader } from './headers.ts';
import { EtcdHeaders } from './headers.ts';
import { KeepAlives } from './keep-alives.ts';
import type { MemberMemory } from './learnt-members.ts';
import { LearntMembers } from './learnt-members.ts';
import { MemberList } from './member-list.ts';
import type { EtcdMember, MemberState } from './members.ts';
import { askAll, quotaBytes } from './members.ts';
import type { EtcdLogin, EtcdOptions } from './options.ts';
import type { EtcdTls } from './tls.ts';
import type { EtcdWatch } from './watch.ts';
import { reportsAll, tellsProgress, watchOn } from './watch.ts';
import { within } from './within.ts';

/**
 * A client of etcd that uses etcd3 as plain gRPC; connection.ts has its channels.
 *
 * etcd3's own fault handling is off (its circuit breaker can cost a whole TTL and its retry repeats
 * writes blindly), every call has a deadline, and dead connections are found by pings. Its Lock,
 * Lease and Watcher classes are not used: a Lease reports loss only after 2 × TTL.
 */

export type {
  ICompare,
  IKeyValue,
  IRangeRequest,
  IRequestOp,
  IResponseOp,
  ITxnRequest,
  ITxnResponse,
} from 'etcd3';
export { EtcdCallError, EtcdRefusedError, LeaseGoneError } from './errors.ts';
export type { MemberMemory, RememberedMembers } from './learnt-members.ts';
export type { EtcdMember, MemberState } from './members.ts';
export type { EtcdLogin, EtcdOptions } from './options.ts';
export type { EtcdWatch } from './watch.ts';
export { LateError, within } from './within.ts';

export class EtcdClient {
  readonly #options: EtcdOptions;
  /** The deadline of one call. */
  readonly callTimeoutMs: number;
  /** The headers of all answers. */
  readonly headers = new EtcdHeaders();
  readonly #list: MemberList;
  readonly #learning: LearntMembers | undefined;
  #client: EtcdConnection | undefined;
  /** The release of the member that `applied` asked last. */
  #version: string | undefined;
  #keepAlives: Promise<KeepAlives> | undefined;

  constructor(options: EtcdOptions) {
    this.#options = options;
    this.callTimeoutMs = options.callTimeoutMs ?? 2_000;
    this.#list = new MemberList(options.endpoints);
    this.#learning = options.memory && this.#learn(options.memory);
  }

  /** Runs a transaction; `timeoutMs` is for a call that must take less time than others. */
  async txn(request: ITxnRequest, timeoutMs = this.callTimeoutMs): Promise<ITxnResponse> {
    const deadline = Date.now() + timeoutMs;
    return this.#call((client) => client.kv.txn(request, { deadline }), this.headers.revision);
  }

  /** Reads a range; `timeoutMs` is for one that may take more time than other calls. */
  async range(request: IRangeRequest, timeoutMs = this.callTimeoutMs): Promise<IRangeResponse> {
    const deadline = Date.now() + timeoutMs;
    return this.#call((client) => client.kv.range(request, { deadline }), this.headers.revision);
  }

  async leaseGrant(ttlSeconds: number): Promise<{ id: string; ttlSeconds: number }> {
    const answer = await this.#call((client) => client.leaseClient.leaseGrant({ TTL: ttlSeconds }));
    return { id: answer.ID, ttlSeconds: Number(answer.TTL) };
  }

  async leaseRevoke(id: string): Promise<void> {
    await this.#call((client) => client.leaseClient.leaseRevoke({ ID: id }));
  }

  /** Returns the seconds left and granted. Rejects LeaseGoneError when etcd has no such lease. */
  async leaseTimeToLive(id: string): Promise<{ leftSeconds: number; grantedSeconds: number }> {
    const answer = await this.#call((client) => client.leaseClient.leaseTimeToLive({ ID: id }));
    const leftSeconds = Number(answer.TTL);
    if (leftSeconds < 0) throw new LeaseGoneError(`etcd has no lease ${id}`);
    return { leftSeconds, grantedSeconds: Number(answer.grantedTTL) };
  }

  /** Renews a lease; returns the granted TTL in seconds. All leases share one stream. */
  async leaseKeepAlive(id: string): Promise<number> {
    const keepAlives = await this.#openKeepAlives();
    const ttlSeconds = await keepAlives.beat(id);
    if (ttlSeconds <= 0) throw new LeaseGoneError(`etcd has no lease ${id}`);
    return ttlSeconds;
  }

  /** Reports every change of the keys in a range from `startRevision` on, in order. */
  async watch(
    range: { key: Buffer; range_end: Buffer },
    startRevision: number,
    onEvents: (events: readonly IEvent[], revision: number) => void,
  ): Promise<EtcdWatch> {
    const stream = await this.#answer((client) => client.watchClient.watch());
    return watchOn(stream, { range, startRevision, onEvents, headers: this.headers });
  }

  /** True if etcd says when a watch has caught up (`EtcdWatch.caughtUp`), as far as `applied` has shown. */
  get tellsProgress(): boolean {
    return this.#version !== undefined && tellsProgress(this.#version);
  }

  /** True if watches report all changes, as far as `applied` has shown. */
  get reportsAll(): boolean {
    return this.#version !== undefined && reportsAll(this.#version);
  }

  /**
   * Returns how many entries of the cluster's log one member has applied, and which member; 0 entries
   * if its release does not tell.
   */
  async applied(): Promise<{ readonly member: string; readonly entries: number }> {
    const { header, raftAppliedIndex, version } = await this.#call((c) => c.maintenance.status());
    this.#version = version;
    return { member: header.member_id, entries: Number(raftAppliedIndex) || 0 };
  }

  /** Asks the member behind each endpoint for its state, each for at most `limitMs`. Never rejects. */
  async members(limitMs = this.callTimeoutMs): Promise<EtcdMember[]> {
    return askAll(this.#list, (endpoint) => within(limitMs, this.#stateAt(endpoint, limitMs)));
  }

  #learn(memory: MemberMemory): LearntMembers {
    return new LearntMembers({
      ...{ list: this.#list, isSecure: this.#options.tls !== undefined, memory },
      ask: async () => {
        const { header, members } = await this.#call((client) => client.cluster.memberList({}));
        const voters = members.filter(({ isLearner }) => !isLearner);
        const listed = voters.map(({ ID, clientURLs }) => ({ id: ID, urls: clientURLs }));
        return { cluster: header.cluster_id, members: listed };
      },
      probe: (endpoint) => this.#stateAt(endpoint, this.callTimeoutMs),
      doubts: () => this.headers.suspicions,
    });
  }

  /** Asks one member. */
  async #stateAt(endpoint: string, limitMs: number): Promise<MemberState> {
    const own = { endpoints: [endpoint], callTimeoutMs: limitMs, memory: undefined };
    const options = { ...this.#options, ...own };
    // etcd checks no login for this call, and a login takes its processor longer than many calls.
    const single = new EtcdClient({ ...options, auth: undefined });
    const withLogin = new EtcdClient(options);
    try {
      return await single.#state(endpoint).catch((error) => {
        if (options.auth && error instanceof EtcdRefusedError) return withLogin.#state(endpoint);
        throw error;
      });
    } finally {
      await Promise.all([single.close(), withLogin.close()]);
    }
  }

  /** Returns the members' names by their numbers. */
  async memberNames(): Promise<ReadonlyMap<string, string>> {
    const { members } = await this.#call((client) => client.cluster.memberList({}));
    return new Map(members.map(({ ID, name }) => [ID, name]));
  }

  /** Returns the alarms that are raised (`NOSPACE`, `CORRUPT`), with the numbers of their members. */
  async alarms(): Promise<{ readonly member: string; readonly alarm: string }[]> {
    const answer = await this.#call((client) => client.maintenance.alarm({ action: 'Get' }));
    return answer.alarms.map(({ memberID, alarm }) => ({
      member: memberID,
      alarm: alarm.toUpperCase(),
    }));
  }

  async close(): Promise<void> {
    this.#learning?.[Symbol.dispose]();
    (await this.#keepAlives?.catch(() => undefined))?.end(
      new EtcdCallError('the client is closed'),
    );
    this.#client?.close();
  }

  async #state(endpoint: string): Promise<MemberState> {
    const [status, quota] = await Promise.all([
      this.#call((client) => client.maintenance.status()),
      quotaBytes(endpoint, await this.#certificates(), this.callTimeoutMs),
    ]);
    return {
      id: status.header.member_id,
      cluster: status.header.cluster_id,
      leader: status.leader,
      version: status.version,
      databaseBytes: Number(status.dbSize),
      usedBytes: Number(status.dbSizeInUse),
      quotaBytes: quota,
      applied: Number(status.raftAppliedIndex),
      errors: status.errors,
    };
  }

  async #certificates(): Promise<EtcdTls | undefined> {
    const { tls } = this.#options;
    return typeof tls === 'function' ? await tls() : tls;
  }

  /** `floor`: see `EtcdHeaders.heard`. */
  async #call<T extends { readonly header?: AnswerHeader }>(
    call: (client: EtcdConnection) => Promise<T>,
    floor = 0,
  ): Promise<T> {
    try {
      const answer = await this.#answer(call);
      this.headers.heard(answer.header, floor);
      return answer;
    } catch (error) {
      if (error instanceof EtcdCallError) this.headers.suspect();
      throw error;
    }
  }

  async #answer<T>(call: (client: EtcdConnection) => Promise<T>): Promise<T> {
    const client = this.#connected();
    return call(client).catch(async (error) => {
      if (!isOutdatedLogin(error)) throw callError(error);
      // etcd still accepts an outdated token for some calls, so it is not enough to log in when etcd rejects it.
      if (this.#client === client) {
        this.#client = undefined;
        client.close(); // Open streams of the old client continue.
      }
      return call(this.#connected()).catch((repeated) => {
        throw callError(repeated);
      });
    });
  }

  #connected(): EtcdConnection {
    const { tls, auth } = this.#options;
    this.#client ??= new EtcdConnection({
      members: this.#list,
      tls: tls && (typeof tls === 'function' ? tls : async () => tls),
      auth: auth && (() => loginOf(auth)),
      callTimeoutMs: this.callTimeoutMs,
    });
    return this.#client;
  }

  async #openKeepAlives(): Promise<KeepAlives> {
    this.#keepAlives ??= this.#answer(async (client) => {
      const stream = await client.leaseClient.leaseKeepAlive();
      return new KeepAlives(stream, this.callTimeoutMs, this.headers, () => {
        this.#keepAlives = undefined;
      });
    });
    try {
      return await this.#keepAlives;
    } catch (error) {
      this.#keepAlives = undefined;
      throw error;
    }
  }
}

async function loginOf({ user, password }: EtcdLogin) {
  return { user, password: typeof password === 'string' ? password : await password() };
}
