import type { CallOptions, Client } from '@grpc/grpc-js';
import { credentials, Metadata } from '@grpc/grpc-js';
import { noop } from 'cockatiel';
import type { ICallable, Services } from 'etcd3';
import {
  ClusterClient,
  castGrpcError,
  EtcdInvalidAuthTokenError,
  isRecoverableError,
  KVClient,
  LeaseClient,
  MaintenanceClient,
  WatchClient,
} from 'etcd3';
import { Host } from 'etcd3/lib/connection-pool.js';
import { MemberAddresses } from './addresses.ts';
import { MemberCredentials } from './credentials.ts';
import type { MemberList } from './member-list.ts';
import { memberTarget } from './resolver.ts';
import type { EtcdTls } from './tls.ts';

type Service = keyof typeof Services;

export interface ConnectionOptions {
  /** The members of one cluster. */
  readonly members: MemberList;
  /** Returns the certificates as they are now; undefined: plain text. */
  readonly tls: (() => Promise<EtcdTls>) | undefined;
  /** Returns the login as it is now; undefined: none. */
  readonly auth: (() => Promise<{ readonly user: string; readonly password: string }>) | undefined;
  /** The deadline of one call. */
  readonly callTimeoutMs: number;
}

/**
 * The channels to a cluster, with etcd3's typed calls on them. It stands in for etcd3's own pool of connections,
 * which checks one name for the certificates of all members, logs in once for each of many concurrent calls, and
 * asks for a proxy in the environment.
 */
export class EtcdConnection implements ICallable<Host> {
  readonly kv = new KVClient(this);
  readonly leaseClient = new LeaseClient(this);
  readonly watchClient = new WatchClient(this);
  readonly maintenance = new MaintenanceClient(this);
  readonly cluster = new ClusterClient(this);
  readonly callOptionsFactory: undefined;
  readonly #options: ConnectionOptions;
  readonly #host: Host;
  #login: Promise<Metadata> | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { members } = options;
    const addresses = new MemberAddresses(members);
    const { target, options: channel } = memberTarget(addresses, members.configured[0] ?? '');
    const secured = options.tls
      ? new MemberCredentials(addresses, options.tls)
      : credentials.createInsecure();
    this.#host = new Host(target, secured, { ...channelOptions, ...channel }, noop);
  }

  /** Runs one call. Rejects etcd3's error; the outcome of a write is unknown then. */
  async exec<T>(
    service: Service,
    method: string,
    params: unknown,
    given?: CallOptions,
  ): Promise<T> {
    const login = this.#loggedIn();
    try {
      return await this.#unary<T>(service, method, params, { given, metadata: await login });
    } catch (error) {
      if (!(error instanceof EtcdInvalidAuthTokenError)) throw error;
      this.#logOut(login); // etcd did not run the call.
      const metadata = await this.#loggedIn();
      return await this.#unary<T>(service, method, params, { given, metadata });
    }
  }

  async withConnection<R>(
    service: Service,
    work: (on: { resource: Host; client: Client; metadata: Metadata }) => Promise<R> | R,
  ): Promise<R> {
    const metadata = await this.#loggedIn();
    const resource = this.#host;
    return await work({ resource, client: resource.getServiceClient(service), metadata });
  }

  /** A stream has broken: the next call makes a new channel. */
  markFailed(resource: Host, failure: Error): void {
    const error = castGrpcError(failure);
    if (error instanceof EtcdInvalidAuthTokenError) this.#login = undefined;
    if (isRecoverableError(error)) resource.resetAllServices();
  }

  /** Open streams continue. */
  close(): void {
    this.#host.close();
  }

  /** Concurrent calls share one login. */
  #loggedIn(): Promise<Metadata> {
    if (this.#options.auth === undefined) return Promise.resolve(new Metadata());
    const login = this.#login ?? this.#logIn(this.#options.auth);
    this.#login = login;
    login.catch(() => this.#logOut(login));
    return login;
  }

  #logOut(login: Promise<Metadata>): void {
    if (this.#login === login) this.#login = undefined;
  }

  async #logIn(auth: NonNullable<ConnectionOptions['auth']>): Promise<Metadata> {
    const { user: name, password } = await auth();
    const params = { name, password };
    const circumstances = { given: undefined, metadata: new Metadata() };
    const answer = await this.#unary<Login>('Auth', 'authenticate', params, circumstances);
    const metadata = new Metadata();
    metadata.set('token', answer.token);
    return metadata;
  }

  async #unary<T>(
    service: Service,
    method: string,
    params: unknown,
    { given, metadata }: { given: CallOptions | undefined; metadata: Metadata },
  ): Promise<T> {
    const deadline = Date.now() + this.#options.callTimeoutMs;
    try {
      return await answerOf<T>(this.#host.getServiceClient(service), method, [
        ...[params, metadata],
        given ?? { deadline },
      ]);
    } catch (error) {
      const failure = castGrpcError(error instanceof Error ? error : new Error(String(error)));
      if (isRecoverableError(failure)) this.#host.resetAllServices();
      throw failure;
    }
  }
}

interface Login {
  readonly token: string;
}

/** Calls a method that gRPC made of etcd's description of its services. */
function answerOf<T>(client: Client, method: string, args: readonly unknown[]): Promise<T> {
  const answer = Promise.withResolvers<T>();
  const done = (error: Error | null, result: T) =>
    error ? answer.reject(error) : answer.resolve(result);
  const call: unknown = Reflect.get(client, method);
  if (typeof call !== 'function') throw new Error(`etcd has no method ${method}`);
  Reflect.apply(call, client, [...args, done]);
  return answer.promise;
}

const channelOptions = {
  // etcd's servers accept no shorter interval than five seconds.
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 1_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  // After a call without an answer there is a new channel. It must not share the attempt to connect of the
  // old channel, which has no time limit and hangs if its packets are lost.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': -1,
  // Nobody asks for gRPC's own statistics of calls, which cost each call.
  'grpc.enable_channelz': 0,
  // gRPC would ask the proxy of the environment for its members; proxies of the web reach no etcd.
  'grpc.enable_http_proxy': 0,
};
