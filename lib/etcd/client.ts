import { noop } from 'cockatiel';
import type {
  IEvent,
  IKeyValue,
  IOptions,
  IRangeRequest,
  IRangeResponse,
  ITxnRequest,
  ITxnResponse,
} from 'etcd3';
import { Etcd3 } from 'etcd3';
import { callError, EtcdCallError, isOutdatedLogin, LeaseGoneError } from './errors.ts';
import { KeepAlives } from './keep-alives.ts';
import type { EtcdMember, MemberState } from './members.ts';
import { quotaBytes } from './members.ts';
import type { EtcdTls } from './target.ts';
import { target } from './target.ts';

/**
 * A client of etcd that uses etcd3 as plain gRPC. No other file imports etcd3.
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
export type { EtcdMember, MemberState } from './members.ts';

export interface EtcdOptions {
  /** One or more members of one cluster, as `host:port`. */
  readonly endpoints: readonly string[];
  readonly tls?: EtcdTls | undefined;
  readonly auth?: { readonly user: string; readonly password: string } | undefined;
  /** The deadline of one call. Default 2,000. */
  readonly callTimeoutMs?: number;
}

/** One open watch. */
export interface EtcdWatch {
  /** Resolves with the reason when the watch has ended. */
  readonly ended: Promise<string>;
  close(): void;
}

export class EtcdClient {
  readonly #options: EtcdOptions;
  /** The deadline of one call. */
  readonly callTimeoutMs: number;
  #client: Promise<Etcd3> | undefined;
  #keepAlives: Promise<KeepAlives> | undefined;

  constructor(options: EtcdOptions) {
    this.#options = options;
    this.callTimeoutMs = options.callTimeoutMs ?? 2_000;
  }

  /** Runs a transaction; `timeoutMs` is for a call that must take less time than others. */
  async txn(request: ITxnRequest, timeoutMs = this.callTimeoutMs): Promise<ITxnResponse> {
    return this.#call((client) => client.kv.txn(request, { deadline: Date.now() + timeoutMs }));
  }

  async range(request: IRangeRequest): Promise<IRangeResponse> {
    return this.#call((client) => client.kv.range(request));
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
    const stream = await this.#call((client) => client.watchClient.watch());
    const ended = Promise.withResolvers<string>();
    stream.on('data', (message) => {
      if (message.canceled) {
        const compacted = Number(message.compact_revision);
        ended.resolve(compacted > 0 ? `compacted at ${compacted}` : message.cancel_reason);
      } else if (message.events.length > 0) {
        try {
          onEvents(message.events, Number(message.header.revision));
        } catch (error) {
          ended.resolve(String(error)); // An error thrown in this listener would end the process.
        }
      }
    });
    stream.on('error', (error) => ended.resolve(error.message));
    stream.on('end', () => ended.resolve('the stream ended'));
    stream.write({ create_request: { ...range, start_revision: String(startRevision) } });
    return {
      ended: ended.promise,
      close: () => {
        ended.resolve('closed');
        stream.cancel();
      },
    };
  }

  /** Asks the member behind each endpoint for its state. Never rejects. */
  async members(): Promise<EtcdMember[]> {
    return Promise.all(
      this.#options.endpoints.map(async (endpoint) => {
        const single = new EtcdClient({ ...this.#options, endpoints: [endpoint] });
        const state = await single.#state(endpoint).catch((error: Error) => error);
        await single.close();
        return { endpoint, state };
      }),
    );
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
    (await this.#keepAlives?.catch(() => undefined))?.end(
      new EtcdCallError('the client is closed'),
    );
    (await this.#client?.catch(() => undefined))?.close();
  }

  async #state(endpoint: string): Promise<MemberState> {
    const [status, quota] = await Promise.all([
      this.#call((client) => client.maintenance.status()),
      quotaBytes(endpoint, this.#options.tls, this.callTimeoutMs),
    ]);
    return {
      id: status.header.member_id,
      leader: status.leader,
      version: status.version,
      databaseBytes: Number(status.dbSize),
      usedBytes: Number(status.dbSizeInUse),
      quotaBytes: quota,
      applied: Number(status.raftAppliedIndex),
      errors: status.errors,
    };
  }

  async #call<T>(call: (client: Etcd3) => Promise<T>): Promise<T> {
    const client = await this.#connected();
    return call(client).catch(async (error) => {
      if (!isOutdatedLogin(error)) throw callError(error);
      // etcd3 logs in again only when etcd rejects its token; an outdated token is still accepted.
      if ((await this.#client?.catch(() => undefined)) === client) {
        this.#client = undefined;
        client.close(); // Open streams of the old client continue.
      }
      return call(await this.#connected()).catch((repeated) => {
        throw callError(repeated);
      });
    });
  }

  async #connected(): Promise<Etcd3> {
    this.#client ??= clientOptions(this.#options, this.callTimeoutMs).then((o) => new Etcd3(o));
    try {
      return await this.#client;
    } catch (error) {
      this.#client = undefined; // The next call resolves the names again.
      throw callError(error);
    }
  }

  async #openKeepAlives(): Promise<KeepAlives> {
    this.#keepAlives ??= this.#call(async (client) => {
      const stream = await client.leaseClient.leaseKeepAlive();
      return new KeepAlives(stream, this.callTimeoutMs, () => {
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

/** Returns the half-open range of all keys that start with `prefix`. */
export function prefixRange(prefix: string): { key: Buffer; range_end: Buffer } {
  const key = Buffer.from(prefix);
  const end = Buffer.from(key);
  // Prefixes end in '/', so the last byte can be raised.
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return { key, range_end: end };
}

/** Reads every key below `prefix` at one revision, in pages. */
export async function readAll(
  client: EtcdClient,
  prefix: string,
): Promise<{ revision: number; kvs: IKeyValue[] }> {
  const range = prefixRange(prefix);
  const kvs: IKeyValue[] = [];
  let key = range.key;
  let revision = 0;
  for (;;) {
    const page = await client.range({ key, range_end: range.range_end, limit: 1_000, revision });
    revision ||= Number(page.header.revision);
    kvs.push(...page.kvs);
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { revision, kvs };
    key = Buffer.concat([last.key, Buffer.from([0])]);
  }
}

async function clientOptions(options: EtcdOptions, callTimeoutMs: number): Promise<IOptions> {
  const { hosts, authority } = await target(options.endpoints);
  const { tls, auth } = options;
  return {
    hosts,
    faultHandling: { host: () => noop, global: noop },
    defaultCallOptions: (context) =>
      context.isStream ? {} : { deadline: Date.now() + callTimeoutMs },
    grpcOptions: {
      // etcd's servers accept no shorter interval than five seconds.
      'grpc.keepalive_time_ms': 5_000,
      'grpc.keepalive_timeout_ms': 1_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      // After a call without an answer, etcd3 makes a new channel. It must not share the attempt to
      // connect of the old channel, which has no time limit and hangs if its packets are lost.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
      ...(tls && authority
        ? { 'grpc.ssl_target_name_override': authority, 'grpc.default_authority': authority }
        : {}),
    },
    ...(tls ? { credentials: tlsCredentials(tls) } : {}),
    ...(auth ? { auth: { username: auth.user, password: auth.password } } : {}),
  };
}

function tlsCredentials({ ca, cert, key }: EtcdTls): NonNullable<IOptions['credentials']> {
  return {
    // The binding accepts null for the system's roots, although its type does not.
    rootCertificate: (ca ?? null) as Buffer,
    ...(cert ? { certChain: cert } : {}),
    ...(key ? { privateKey: key } : {}),
  };
}
