import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../running/clock.ts';
import { blockersOf } from '../conflicts.ts';
import type { LockManager } from '../lock-manager.ts';
import type { Locks } from '../locks.ts';
import type { Ticket } from '../ticket.ts';
import { checkAccess } from './access.ts';
import { bodyOf, clearBody, disableBody, holdBody, lockNameOf, releaseBody } from './bodies.ts';
import { holderReply, RefusedError, sendFailure, sendJson } from './events.ts';
import { Hold } from './hold.ts';

export interface RouterOptions {
  readonly locks: Locks & Pick<LockManager, 'isAlive'>;
  readonly clock: Clock;
  readonly ttlMs: number;
  /** Each request must have it; undefined: anybody may ask. */
  readonly token: string | undefined;
  /** The most requests that hold or wait at one time. */
  readonly maxHolds: number;
  /** Called when a request may ask, with its connection. */
  readonly accepted: (request: IncomingMessage) => void;
}

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly name: string;
}

/** Answers the requests of a lock server. */
export class Router {
  readonly holds = new Set<Hold>();
  readonly #options: RouterOptions;
  #isStopping = false;

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Answers one request. Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      checkAccess(request, this.#options.token);
      this.#options.accepted(request);
      if (this.#isStopping) throw new RefusedError(503, 'unavailable', 'the lock server stops');
      await this.#route(request, response);
    } catch (error) {
      sendFailure(response, error);
    }
  }

  /**
   * Refuses new requests and those that wait; asks holders to end their work within `leastMs`, or their time of silence
   * if that is longer. Returns the longest of these times, 0 if nobody holds a lock.
   */
  stop(leastMs: number): number {
    this.#isStopping = true;
    return Math.max(0, ...[...this.holds].map((hold) => hold.stopping(leastMs)));
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { locks } = this.#options;
    const { method = '', url = '' } = request;
    // Not by URL: it would take the names `.` and `..` for parts of a path.
    const [path = ''] = url.split('?', 1);
    const [, version, room, encoded, action, ...rest] = path.split('/');
    const isKnown = version === 'v1' && rest.length === 0;
    if (isKnown && method === 'GET' && path === '/v1/health') {
      return sendJson(response, 200, { conditions: await locks.health() });
    }
    if (isKnown && room === 'locks' && method === 'GET' && action === undefined) {
      return sendJson(response, 200, await this.#list(encoded));
    }
    if (isKnown && room === 'locks' && method === 'POST' && encoded !== undefined) {
      const call = { request, response, name: lockNameOf(encoded) };
      if (action === undefined) return this.#hold(call);
      const reply = await this.#act(action, call);
      if (reply) return sendJson(response, 200, reply);
    }
    throw new RefusedError(404, 'not-found', `the lock server has no ${method} ${path}`);
  }

  async #list(encoded: string | undefined): Promise<object> {
    const { locks } = this.#options;
    const name = encoded === undefined ? undefined : lockNameOf(encoded);
    const [all, gates] = await Promise.all([locks.list(), locks.gates()]);
    // A ticket may wait for one of its other locks, so its state follows from all tickets.
    const shown = all.filter((ticket) => name === undefined || isOn(ticket, name));
    return {
      locks: shown.map((ticket) => ({
        ...holderReply(ticket),
        locks: ticket.locks,
        state: blockersOf(ticket, all).length === 0 ? 'held' : 'waiting',
      })),
      disabled: gates.filter(({ lockName }) => name === undefined || lockName === name),
    };
  }

  async #hold({ request, response, name }: Call): Promise<void> {
    const { locks, clock, ttlMs, maxHolds } = this.#options;
    const body = await bodyOf(request, holdBody);
    if (this.holds.size >= maxHolds) {
      const message = `${maxHolds} requests hold or wait for locks here; try again later`;
      throw new RefusedError(503, 'unavailable', message);
    }
    const hold = new Hold({ locks, clock, ttlMs, request: { ...body, name }, response });
    this.holds.add(hold);
    try {
      await hold.run();
    } finally {
      this.holds.delete(hold);
    }
  }

  /** Returns the reply; undefined if there is no such action. */
  async #act(action: string, { request, name }: Call): Promise<object | undefined> {
    const { locks } = this.#options;
    switch (action) {
      case 'release': {
        const { token } = await bodyOf(request, releaseBody);
        const hold = [...this.holds].find((each) => each.name === name && each.token === token);
        if (!hold) throw nobody(name, token, 'holds here');
        await hold.release();
        return { released: { name, token } };
      }
      case 'clear': {
        const { token, force } = await bodyOf(request, clearBody);
        return { cleared: holderReply(await this.#clear(name, token, force)) };
      }
      case 'disable': {
        const { why } = await bodyOf(request, disableBody);
        await locks.disable(name, why === undefined ? {} : { why });
        const gates = await locks.gates();
        return { disabled: gates.find(({ lockName }) => lockName === name) };
      }
      case 'enable':
        await locks.enable(name);
        return { enabled: name };
      default:
        return undefined;
    }
  }

  async #clear(name: string, token: number, force: boolean): Promise<Ticket> {
    const { locks } = this.#options;
    const ticket = (await locks.inspect(name)).find((each) => each.token === token);
    if (!ticket) throw nobody(name, token, 'has');
    if (!force && (await locks.isAlive(ticket))) {
      const { host, reason, since } = ticket.holder;
      const who = `host ${host} (${reason}, since ${since})`;
      const next = 'end its program, or send "force": true';
      throw new RefusedError(
        409,
        'refused',
        `the holder of lock ${name} is alive: ${who}; ${next}`,
      );
    }
    await locks.breakLock(ticket);
    return ticket;
  }
}

function isOn({ locks }: Ticket, name: string): boolean {
  return locks.some((lock) => lock.name === name);
}

function nobody(name: string, token: number, does: string): RefusedError {
  return new RefusedError(404, 'not-found', `nobody ${does} lock ${name} with token ${token}`);
}
