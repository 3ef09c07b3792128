import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { RefusedError } from './events.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** True for an IP address that only this machine reaches. */
export function isLoopback(address: string): boolean {
  const version = isIP(address);
  return version !== 0 && loopback.check(address, version === 6 ? 'ipv6' : 'ipv4');
}

/** Throws RefusedError if a request may not ask. Without a token, only programs of this machine may. */
export function checkAccess({ headers }: IncomingMessage, token: string | undefined): void {
  // A browser names the page that asks, a program does not: a page of the internet would otherwise
  // reach the server on the loopback of whoever reads it.
  const { origin, 'sec-fetch-site': site = 'none' } = headers;
  if (origin !== undefined || site !== 'none') {
    throw new RefusedError(403, 'forbidden', 'web pages may not ask for locks');
  }
  if (token === undefined) {
    checkHost(headers.host);
    return;
  }
  const given = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
  const missing = 'the request has no token: send Authorization: Bearer TOKEN';
  if (given === undefined) throw new RefusedError(401, 'unauthorized', missing);
  if (isSame(given, token)) return;
  throw new RefusedError(401, 'unauthorized', 'the token of the request is wrong');
}

/** A page whose own name leads to the loopback by now names no origin, but it can't change the host. */
function checkHost(host = ''): void {
  const name = /^(?:\[(?<ip6>[^\]]*)\]|(?<other>[^:]*))(?::\d+)?$/.exec(host)?.groups;
  const asked = name?.ip6 ?? name?.other ?? '';
  if (asked.toLowerCase() === 'localhost' || isLoopback(asked)) return;
  const message = `the lock server has no token, so it is asked by localhost or 127.0.0.1, not by ${JSON.stringify(host)}`;
  throw new RefusedError(403, 'forbidden', message);
}

/** Takes the same time for any two texts: hashes of one length are compared as a whole. */
function isSame(a: string, b: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
