import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { noop } from 'cockatiel';
import type {
  IDuplexStream,
  IEvent,
  IKeyValue,
  IOptions,
  IRangeRequest,
  IRangeResponse,
  ITxnRequest,
  ITxnResponse,
} from 'etcd3';
import { Etcd3, EtcdLeaseInvalidError } from 'etcd3';

/**
 * etcd, as berth uses it: etcd3 as a plain gRPC client, the only file that imports it.
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

export interface EtcdOptions {
  /** `host:port`, one or more members of one cluster. */
  readonly endpoints: readonly string[];
  readonly tls?: EtcdTls | undefined;
  readonly auth?: { readonly user: string; readonly password: string } | undefined;
  /** How long one call may take. Default 2,000. */
  readonly callTimeoutMs?: number;
}

/** PEM contents. Without `ca` the system's roots are trusted. */
export interface EtcdTls {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

/** The lease that a call names does not exist (any more). */
export class LeaseGoneError extends Error {
  override readonly name = 'LeaseGoneError';
}

/**
 * etcd has answered, and will answer the same until a person mends something: the user may not do
 * this, a password is wrong, there is no space left. Nothing was written.
 */
export class EtcdRefusedError extends Error {
  override readonly name = 'EtcdRefusedError';
}

/** Any other failure of a call. For a write: it may or may not have happened. */
export class EtcdCallError extends Error {
  override readonly name = 'EtcdCallError';
}

/** One open watch. */
export interface EtcdWatch {
  /** Resolves when the watch has ended, for whatever reason; its text says why. */
  readonly ended: Promise<string>;
  close(): void;
}

export class EtcdClient {
  readonly #options: EtcdOptions;
  readonly #callTimeoutMs: number;
  #client: Promise<Etcd3> | undefined;
  #keepAlives: Promise<KeepAlives> | undefined;

  constructor(options: EtcdOptions) {
    this.#options = options;
    this.#callTimeoutMs = options.callTimeoutMs ?? 2_000;
  }

  async txn(request: ITxnRequest): Promise<ITxnResponse> {
    return this.#call((client) => client.kv.txn(request));
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

  /** Seconds left, and as granted. Rejects LeaseGoneError when there is no such lease. */
  async leaseTimeToLive(id: string): Promise<{ leftSeconds: number; grantedSeconds: number }> {
    const answer = await this.#call((client) => client.leaseClient.leaseTimeToLive({ ID: id }));
    const leftSeconds = Number(answer.TTL);
    if (leftSeconds < 0) throw new LeaseGoneError(`etcd has no lease ${id}`);
    return { leftSeconds, grantedSeconds: Number(answer.grantedTTL) };
  }

  /** Renews a lease; answers the TTL granted, in seconds. All leases share one stream. */
  async leaseKeepAlive(id: string): Promise<number> {
    const keepAlives = await this.#openKeepAlives();
    const ttlSeconds = await keepAlives.beat(id);
    if (ttlSeconds <= 0) throw new LeaseGoneError(`etcd has no lease ${id}`);
    return ttlSeconds;
  }

  /** Reports every change of the keys in the range from `startRevision` on, in order. */
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
          ended.resolve(String(error)); // Thrown from here it would end the process.
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

  async close(): Promise<void> {
    (await this.#keepAlives?.catch(() => undefined))?.end(
      new EtcdCallError('the client is closed'),
    );
    (await this.#client?.catch(() => undefined))?.close();
  }

  async #call<T>(call: (client: Etcd3) => Promise<T>): Promise<T> {
    this.#client ??= clientOptions(this.#options, this.#callTimeoutMs).then((o) => new Etcd3(o));
    let client: Etcd3;
    try {
      client = await this.#client;
    } catch (error) {
      this.#client = undefined; // The next call tries to resolve the names again.
      throw callError(error);
    }
    return call(client).catch((error) => {
      throw callError(error);
    });
  }

  async #openKeepAlives(): Promise<KeepAlives> {
    this.#keepAlives ??= this.#call(async (client) => {
      const stream = await client.leaseClient.leaseKeepAlive();
      return new KeepAlives(stream, this.#callTimeoutMs, () => {
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

/** The keep-alive stream. After one missed answer it is given up: answers can't be told apart. */
class KeepAlives {
  readonly #stream: IDuplexStream<{ ID: string }, { ID: string; TTL: string }>;
  readonly #timeoutMs: number;
  /** The beats that wait for their answer, by lease; etcd answers in order for each lease. */
  readonly #waiting = new Map<string, PromiseWithResolvers<number>[]>();
  readonly #onEnd: () => void;
  #ended = false;

  constructor(
    stream: IDuplexStream<{ ID: string }, { ID: string; TTL: string }>,
    timeoutMs: number,
    onEnd: () => void,
  ) {
    this.#stream = stream;
    this.#timeoutMs = timeoutMs;
    this.#onEnd = onEnd;
    stream.on('data', ({ ID, TTL }) => this.#waiting.get(ID)?.shift()?.resolve(Number(TTL)));
    stream.on('error', (error) => this.end(callError(error)));
    stream.on('end', () => this.end(new EtcdCallError('the keep-alive stream ended')));
  }

  async beat(id: string): Promise<number> {
    const answer = Promise.withResolvers<number>();
    const waiting = this.#waiting.get(id) ?? [];
    waiting.push(answer);
    this.#waiting.set(id, waiting);
    const timer = setTimeout(
      () => this.end(new EtcdCallError('etcd did not answer a keep-alive in time')),
      this.#timeoutMs,
    );
    try {
      this.#stream.write({ ID: id });
      return await answer.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    this.#stream.cancel();
    for (const answer of [...this.#waiting.values()].flat()) answer.reject(error);
    this.#waiting.clear();
  }
}

/** The half-open range of all keys that start with `prefix`. */
export function prefixRange(prefix: string): { key: Buffer; range_end: Buffer } {
  const key = Buffer.from(prefix);
  const end = Buffer.from(key);
  // The prefixes in use end in '/', so the last byte can always be raised.
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return { key, range_end: end };
}

/** Every key below `prefix` at one revision, read in pages. */
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
      // Five seconds is the shortest that etcd's servers accept.
      'grpc.keepalive_time_ms': 5_000,
      'grpc.keepalive_timeout_ms': 1_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
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
    // The binding takes null for "the system's roots" although its type does not say so.
    rootCertificate: (ca ?? null) as Buffer,
    ...(cert ? { certChain: cert } : {}),
    ...(key ? { privateKey: key } : {}),
  };
}

/**
 * All members as ONE gRPC target, so that grpc-js keeps one channel and finds a live member itself
 * (etcd3's own list picks a random one per call, dead ones included). gRPC's address lists take
 * addresses only, so several names are resolved here.
 */
async function target(
  endpoints: readonly string[],
): Promise<{ hosts: string; authority?: string }> {
  const parsed = endpoints.map((endpoint) => {
    const colon = endpoint.lastIndexOf(':');
    const host = endpoint.slice(0, colon).replace(/^\[|\]$/g, '');
    return { host, port: endpoint.slice(colon + 1) };
  });
  const name = parsed.find(({ host }) => isIP(host) === 0)?.host;
  const [only] = parsed;
  if (parsed.length === 1 && only && name) {
    return { hosts: `dns:///${only.host}:${only.port}`, authority: name };
  }
  const found = await Promise.allSettled(
    parsed.map(async ({ host, port }) => ({ ...(await lookup(host)), port })),
  );
  const addresses = found.flatMap((result) =>
    result.status === 'fulfilled' ? [result.value] : [],
  );
  const family = addresses[0]?.family;
  if (family === undefined) {
    throw new EtcdCallError(`none of ${endpoints.join(', ')} can be resolved to an address`);
  }
  const list = addresses
    .filter((address) => address.family === family)
    .map(({ address, port }) => (family === 6 ? `[${address}]:${port}` : `${address}:${port}`));
  return { hosts: `ipv${family}:${list.join(',')}`, ...(name ? { authority: name } : {}) };
}

function callError(error: unknown): Error {
  const isNamed = [LeaseGoneError, EtcdRefusedError, EtcdCallError].some((c) => error instanceof c);
  if (isNamed) return error as Error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof EtcdLeaseInvalidError || /requested lease not found/.test(message)) {
    return new LeaseGoneError(message, { cause: error });
  }
  const advice = refusals.find(([pattern]) => pattern.test(message))?.[1];
  if (advice !== undefined) return new EtcdRefusedError(`${message}; ${advice}`, { cause: error });
  return new EtcdCallError(message, { cause: error });
}

/** What etcd says when it will not do something until a person has acted. */
const refusals: readonly (readonly [RegExp, string])[] = [
  [
    /permission denied/,
    'grant the user a role that may read and write everything below the prefix',
  ],
  [/invalid user ID or password/, 'check the user and the password'],
  [/user name is empty/, 'this etcd wants a user and a password'],
  [/authentication is not enabled/, 'leave the user out, or enable authentication'],
  [/database space exceeded/, 'compact and defragment it, then disarm its NOSPACE alarm'],
  [/corrupt cluster/, 'replace the members that its CORRUPT alarm names'],
  [/too many operations|request is too large/, 'raise its --max-txn-ops or --max-request-bytes'],
];
