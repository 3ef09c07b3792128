import type { EtcdLogin, EtcdOptions } from '../../etcd/options.ts';
import { endpointOf } from './store-address.ts';

/** An `Etcd3` of the package etcd3, by its public methods; it also keeps the options that it was made with. */
export interface Etcd3Client {
  getAll(): unknown;
  lease(ttlSeconds: number): unknown;
}

/** The part of etcd3's options that says where etcd is, and who asks. */
interface Etcd3Options {
  readonly hosts: string | readonly string[];
  readonly credentials?: {
    readonly rootCertificate?: Buffer;
    readonly privateKey?: Buffer;
    readonly certChain?: Buffer;
  };
  readonly auth?: { readonly username: string; readonly password: string };
}

/** Returns the settings of a client. Throws RangeError if the object has none. */
export function etcdSettings(client: Etcd3Client | EtcdOptions): EtcdOptions {
  if ('endpoints' in client) return client;
  const options = 'options' in client ? client.options : undefined;
  if (!hasHosts(options)) {
    throw new RangeError(
      'this client of etcd does not show its settings; give openLocks its endpoints: { etcd: { endpoints: ["n1:2379"] } }',
    );
  }
  const { hosts, credentials, auth } = options;
  const urls = [hosts].flat();
  const isSecure = credentials !== undefined || urls.some((url) => url.startsWith('https://'));
  return {
    endpoints: urls.map((url) => endpointOf(url.replace(/^https?:\/\/|\/$/g, ''))),
    ...(auth && { auth: { user: auth.username, password: auth.password } satisfies EtcdLogin }),
    ...(isSecure && {
      tls: {
        ca: credentials?.rootCertificate,
        cert: credentials?.certChain,
        key: credentials?.privateKey,
      },
    }),
  };
}

function hasHosts(options: unknown): options is Etcd3Options {
  return typeof options === 'object' && options !== null && 'hosts' in options;
}
