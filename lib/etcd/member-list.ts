import { isIP } from 'node:net';

/** A member that the cluster itself has named, at an address that no setting has. */
export interface LearntMember {
  /** The member's number. */
  readonly id: string;
  /** `host:port`, an IPv6 address in brackets. */
  readonly endpoint: string;
}

/** The places where the members of a cluster are looked for: those of the settings first, then those learnt. */
export class MemberList {
  /** Each `host:port`, an IPv6 address in brackets. */
  readonly configured: readonly string[];
  #learnt: readonly LearntMember[] = [];

  constructor(configured: readonly string[]) {
    this.configured = configured;
  }

  get learnt(): readonly LearntMember[] {
    return this.#learnt;
  }

  get endpoints(): readonly string[] {
    return [...this.configured, ...this.#learnt.map(({ endpoint }) => endpoint)];
  }

  learn(members: readonly LearntMember[]): void {
    this.#learnt = members.filter(({ endpoint }) => !this.configured.includes(endpoint));
  }
}

/**
 * Returns the `host:port` of a URL that a member advertises to its clients. Undefined: a client can't use it, because
 * it means another machine on each host (loopback, no address, link-local), or because it is not of the kind, plain or
 * TLS, that the settings have.
 */
export function endpointOf(url: string, isSecure: boolean): string | undefined {
  const parsed = URL.parse(url);
  if (parsed?.protocol !== (isSecure ? 'https:' : 'http:')) return undefined;
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  if (host === '' || isLoopback(host) || isNoDestination(host)) return undefined;
  return `${parsed.hostname}:${parsed.port || (isSecure ? 443 : 80)}`;
}

/** True if a host name or an IP address means the machine that uses it. */
export function isLoopback(host: string): boolean {
  if (isIP(host) === 6) return host === '::1' || /^::ffff:(127\.|7f)/i.test(host);
  if (isIP(host) === 4) return host.startsWith('127.');
  return host === 'localhost' || host.endsWith('.localhost');
}

/** Returns the host of `host:port`, without the brackets of an IPv6 address. */
export function hostOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

function isNoDestination(host: string): boolean {
  if (isIP(host) === 6) return host === '::' || /^fe[89ab]/i.test(host);
  return isIP(host) === 4 && (host.startsWith('0.') || host.startsWith('169.254.'));
}
