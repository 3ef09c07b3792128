import { lookup } from 'node:dns/promises';
import { isIP, SocketAddress } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { EtcdCallError } from './errors.ts';
import type { MemberList } from './member-list.ts';
import { hostOf } from './member-list.ts';

/** Where a member can be reached. */
export interface MemberAddress {
  /** An IP address. */
  readonly host: string;
  readonly port: number;
}

/** A server of names may be as dead as the member. */
const lookupLimitMs = 1_500;

/** Resolves the endpoints of a cluster to addresses, of both families, and knows which name each address has. */
export class MemberAddresses {
  readonly #members: MemberList;
  /** The last addresses of each endpoint: they stay good while names can't be looked up. */
  readonly #known = new Map<string, readonly MemberAddress[]>();

  constructor(members: MemberList) {
    this.#members = members;
  }

  /** Looks all names up now. Rejects EtcdCallError if none has an address. */
  async resolve(): Promise<readonly MemberAddress[]> {
    const { configured, endpoints } = this.#members;
    await Promise.all(
      endpoints.map(async (endpoint) => {
        const found = await addressesOf(endpoint);
        if (found.length > 0) this.#known.set(endpoint, found);
      }),
    );
    const all = endpoints.flatMap((endpoint) => this.#known.get(endpoint) ?? []);
    // A member can be configured by a name and be learnt by the address of that name.
    const unique = new Map(all.map((address) => [`${address.host} ${address.port}`, address]));
    if (all.length > 0) return [...unique.values()];
    throw new EtcdCallError(`none of ${configured.join(', ')} can be resolved to an address`);
  }

  /** Returns the names by which the member at an address was configured, or advertises itself: its certificate has to have one of them. */
  namesAt(host: string, port: number): readonly string[] {
    const isThere = (address: MemberAddress) =>
      address.port === port && address.host === canonical(host);
    return this.#members.endpoints
      .filter((endpoint) => this.#known.get(endpoint)?.some(isThere))
      .map(hostOf);
  }
}

/** Resolves to nothing if the name can't be looked up now. */
async function addressesOf(endpoint: string): Promise<readonly MemberAddress[]> {
  const name = hostOf(endpoint);
  const port = Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
  if (isIP(name)) return [{ host: canonical(name), port }];
  const ended = new AbortController();
  const late = pause(lookupLimitMs, [], { ref: false, signal: ended.signal }).catch(() => []);
  const found = lookup(name, { all: true }).catch(() => []);
  const addresses = await Promise.race([found, late]);
  ended.abort();
  return addresses.map(({ address }) => ({ host: canonical(address), port }));
}

/** Returns an address in the form in which sockets report it. */
function canonical(address: string): string {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  return new SocketAddress({ address, family }).address;
}
