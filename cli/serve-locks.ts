import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { LockServer, LockServerOptions } from '../lib/lock/server/listen.ts';
import { AdminError } from './admin-client.ts';
import type { Context } from './context.ts';
import { exitCodes } from './exit-code.ts';
import { withLocks } from './store-locks.ts';

export interface ServeLocksOptions {
  /** `HOST:PORT`, `[ADDRESS]:PORT` or a port of the loopback. */
  readonly listen: string;
  readonly tokenFile: string | undefined;
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly ttlMs: number;
}

/** How long holders have at least to end their work when the server stops. */
const graceMs = 10_000;
const shortestToken = 16;
/** Holders end their work after half of the TTL without a line. */
const shortestTtlMs = 2_000;

/** Serves the locks of a store over HTTP until a signal stops it. Rejects AdminError, as the other commands. */
export async function serveStoreLocks(
  context: Pick<Context, 'stderr'>,
  url: string,
  options: ServeLocksOptions,
): Promise<number> {
  const { stderr } = context;
  const { ttlMs } = options;
  if (ttlMs < shortestTtlMs) throw refusal('invalid', '--ttl is at least 2s', []);
  const secrets = await secretsOf(options, stderr);
  const place = await placeOf(options.listen);
  return withLocks(url, ttlMs, async (locks) => {
    // A mistake in the address of the store shows now, and not to the first client.
    await locks.gates();
    const limitSilence = await silenceLimit(stderr);
    const given = { ...secrets, ...place, locks, ttlMs, limitSilence };
    await using server = await listening(given, options.listen);
    stderr.write(`berth: serving locks on ${server.url}\n`);
    await stoppedBySignal(server, stderr);
    return exitCodes.ok;
  });
}

async function listening(options: LockServerOptions, address: string): Promise<LockServer> {
  const { serveLocks } = await import('../lib/lock/server/listen.ts');
  try {
    return await serveLocks(options);
  } catch (error) {
    if (error instanceof RangeError) {
      const next = ['give it --tls-cert FILE, --tls-key FILE and --token-file FILE'];
      throw refusal('invalid', error.message, [...next, 'or a loopback address']);
    }
    throw refusal('command-failed', `can't listen on ${address}: ${textOf(error)}`, []);
  }
}

/** Resolves when a signal has stopped the server; a second signal ends the wait for the holders. */
async function stoppedBySignal(server: LockServer, stderr: Context['stderr']): Promise<void> {
  const asked = new AbortController();
  const ask = () => {
    if (asked.signal.aborted) void server.stop(0);
    else asked.abort();
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, ask);
  try {
    await once(asked.signal, 'abort');
    await server.stop(graceMs, (ms) => {
      stderr.write(`berth: stopping; holders have ${ms / 1_000} s to end their work\n`);
    });
  } finally {
    for (const name of names) process.off(name, ask);
  }
}

async function secretsOf(
  { tokenFile, tlsCert, tlsKey }: ServeLocksOptions,
  stderr: Context['stderr'],
): Promise<Pick<LockServerOptions, 'tls' | 'token'>> {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw refusal('invalid', '--tls-cert and --tls-key need each other', []);
  }
  const [token, cert, key] = await Promise.all([tokenFile, tlsCert, tlsKey].map(contentOf));
  for (const path of [tokenFile, tlsKey]) {
    if (path === undefined || ((await stat(path)).mode & 0o077) === 0) continue;
    stderr.write(
      `berth: warning: other users of this machine can read ${path}: chmod 600 ${path}\n`,
    );
  }
  const secret = token?.trim();
  if (secret !== undefined && secret.length < shortestToken) {
    const next = [`make one: (umask 077; head -c 32 /dev/urandom | base64 > ${tokenFile})`];
    const message = `the token in ${tokenFile} has less than ${shortestToken} characters`;
    throw refusal('invalid', message, next);
  }
  return {
    token: secret,
    tls: cert !== undefined && key !== undefined ? { cert, key } : undefined,
  };
}

async function contentOf(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw refusal('invalid', `can't read ${path}: ${textOf(error)}`, []);
  }
}

/** Returns the IP address and the port of a text; the loopback's if it is a port alone. */
async function placeOf(listen: string): Promise<{ address: string; port: number }> {
  const parts = /^(?:(?:\[(?<ip6>[^\]]+)\]|(?<host>[^:[\]]+)):)?(?<port>\d+)$/.exec(listen)?.groups;
  const port = Number(parts?.port);
  if (!parts || port > 65_535) {
    throw refusal('invalid', `--listen ${listen} is no address`, ['use HOST:PORT, or a port']);
  }
  const host = parts.ip6 ?? parts.host ?? '127.0.0.1';
  const { lookup } = await import('node:dns/promises');
  try {
    return { address: (await lookup(host)).address, port };
  } catch (error) {
    throw refusal('invalid', `--listen ${listen}: ${textOf(error)}`, []);
  }
}

async function silenceLimit(
  stderr: Context['stderr'],
): Promise<(socket: Socket, limitMs: number) => void> {
  try {
    const { limitUnacknowledged } = await import('../lib/linux/unacknowledged.ts');
    return limitUnacknowledged;
  } catch (error) {
    const why = textOf(error).split('\n', 1)[0];
    stderr.write(
      `berth: warning: a client whose machine vanishes keeps its locks for 15 minutes: ${why}\n`,
    );
    return () => {};
  }
}

function refusal(code: 'invalid' | 'command-failed', message: string, next: readonly string[]) {
  return new AdminError({ code, message }, next);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
