import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { EtcdCallError } from './errors.ts';

/**
 * Returns all members as ONE gRPC target, so that grpc-js keeps one channel and finds a live member
 * (etcd3's own list picks a random one per call, dead ones included). gRPC's address lists take
 * addresses only, so several names are resolved here.
 */
export async function target(
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

/** PEM contents. Without `ca` the system's roots are trusted. */
export interface EtcdTls {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}
