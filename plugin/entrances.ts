import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { InheritedSocket } from '../lib/linux/inherited-sockets.ts';
import { listenOnUnixSocket } from '../lib/linux/unix-server.ts';
import type { Clock } from '../lib/running/clock.ts';
import { systemClock } from '../lib/running/clock.ts';
import type { FailureReply } from './admin/api/long-work.ts';
import type { Config } from './config/config.ts';
import type { StartedApp } from './docker/starting-app.ts';
import { startingApp } from './docker/starting-app.ts';
import { waitUntilReady } from './http/wait-until-ready.ts';

/** The daemon's two sockets. Disposing closes them, and cuts requests that still wait for `open`. */
export interface Entrances extends AsyncDisposable {
  /** Hands the waiting requests, and all later ones, to the apps. */
  open(apps: Apps): void;
}

export interface Apps {
  readonly docker: StartedApp;
  readonly admin: RequestListener;
}

export interface EntranceOptions {
  readonly inherited?: InheritedSockets | undefined;
  readonly limitMs?: number;
  readonly clock?: Clock;
}

export type InheritedSockets = ReadonlyMap<'docker' | 'admin', InheritedSocket>;

/** Far longer than a start takes, but below the 30 s (managed plugin) and 60 s of the engine. */
const defaultLimitMs = 20_000;

/**
 * Listens on both sockets before the daemon has started. At each boot the engine starts at the same
 * time; its requests then wait for the daemon, and do not fail.
 *
 *     request ─► socket ─► waitUntilReady ── open() was called ──► docker or admin app
 *                               ├─ 20 s passed ──► giveUp: "berth is still starting"
 *                               └─ the start failed ──► connection cut
 *
 * `Plugin.Activate` does not wait (plugin/docker/starting-app.ts). Sockets that systemd has passed
 * on are used as they are, and their files stay when the daemon ends.
 */
export async function listenEarly(
  { socket, adminSocket }: Pick<Config, 'socket' | 'adminSocket'>,
  { inherited = new Map(), limitMs = defaultLimitMs, clock = systemClock() }: EntranceOptions = {},
): Promise<Entrances> {
  const apps = Promise.withResolvers<Apps>();
  await using listening = new AsyncDisposableStack();
  const listen = async (handler: RequestListener, purpose: 'docker' | 'admin', path: string) => {
    const given = inherited.get(purpose);
    const options = { path: given?.path ?? path, mode: 0o600, inheritedFd: given?.fd };
    listening.use(await listenOnUnixSocket(handler, options));
  };
  const admin = apps.promise.then((all) => all.admin);
  await listen(waitUntilReady(admin, { limitMs, giveUp, clock }), 'admin', adminSocket);
  const docker = apps.promise.then((all) => all.docker);
  await listen(startingApp(docker, { limitMs, clock }), 'docker', socket);
  listening.defer(() => apps.reject(new Error('the daemon has ended')));
  const sockets = listening.move();
  return {
    open: apps.resolve,
    [Symbol.asyncDispose]: () => sockets.disposeAsync(),
  };
}

function giveUp(_request: IncomingMessage, response: ServerResponse): void {
  const message = 'berth is still starting; try again, or see its log';
  const body: FailureReply = { error: { code: 'unavailable', message } };
  response.writeHead(503, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}
