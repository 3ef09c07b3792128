import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** True for an IP address that only this machine reaches. */
export function isLoopback(address: string): boolean {
  const version = isIP(address);
  return version !== 0 && loopback.check(address, version === 6 ? 'ipv6' : 'ipv4');
}

/** Returns why a request may not ask; undefined if it may. */
export function refusalOf(
  { headers }: IncomingMessage,
  token: string | undefined,
): string | undefined {
  // A browser names the page that asks, a program does not: a page of the internet would otherwise
  // reach the server on the loopback of whoever reads it.
  if (headers.origin !== undefined) return 'web pages may not ask for locks';
  if (token === undefined) return undefined;
  const given = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
  if (given === undefined) return 'the request has no token: send Authorization: Bearer TOKEN';
  return isSame(given, token) ? undefined : 'the token of the request is wrong';
}

/** Takes the same time for any two texts: hashes of one length are compared as a whole. */
function isSame(a: string, b: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
