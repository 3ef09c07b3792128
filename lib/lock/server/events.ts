import type { ServerResponse } from 'node:http';
import createDebug from 'debug';
import { LockContendedError, LockError, LockTimeoutError, PermitsDifferError } from '../errors.ts';
import type { Holder, Ticket } from '../ticket.ts';
import { BadRequestError } from './bodies.ts';

const log = createDebug('berth:lock-server');

/** A holder of a lock, or a request before one's own. */
export interface HolderReply extends Holder {
  readonly token: number;
}

/** The first holders, and the number of the others, if there are any. */
export interface Holders {
  readonly holders: readonly HolderReply[];
  readonly more?: number;
}

export interface Failure extends Partial<Holders> {
  readonly code: string;
  readonly message: string;
}

/** A lock with permits has up to a thousand holders: a line names so many of them. */
const mostNamed = 5;

/** Returns the first of those who are before a request, and how many more there are. */
export function holdersReply(tickets: readonly Ticket[]): Holders {
  const more = tickets.length - mostNamed;
  const holders = tickets.slice(0, mostNamed).map(holderReply);
  return { holders, ...(more > 0 && { more }) };
}

/** One line of the answer to a request for a lock. Nothing follows the last four. */
export type LockEvent =
  /** The requests and holders before this one; sent again when they change. */
  | ({ readonly event: 'waiting' } & Holders)
  /** Without a line for `maxSilenceMs`, the work has to end: the server may have lost the lock. */
  | { readonly event: 'granted'; readonly token: number; readonly maxSilenceMs: number }
  /** The request still waits, or the lock is still held. */
  | { readonly event: 'alive' }
  /** The server stops: the work has to end, and the client to close the connection. */
  | { readonly event: 'stopping'; readonly graceMs: number; readonly message: string }
  | { readonly event: 'lost'; readonly message: string }
  | { readonly event: 'released' }
  | ({ readonly event: 'error' } & Failure);

/** A request that the server refuses by itself. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function holderReply({ holder, token }: Ticket): HolderReply {
  return { ...holder, token };
}

export function sendJson(response: ServerResponse, status: number, body: object): void {
  if (response.closed || response.headersSent) return;
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

/** Answers a request that failed before its first line. */
export function sendFailure(response: ServerResponse, error: unknown): void {
  const failure = failureOf(error);
  if (failure.code === 'unauthorized') response.setHeader('WWW-Authenticate', 'Bearer');
  // The rest of a body that was refused is not read.
  if (!response.req.complete) response.setHeader('Connection', 'close');
  sendJson(response, statusOf(error, failure), { error: failure });
}

/** Returns an error as the API reports it. Logs an unexpected error with its stack: a bug. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RefusedError) return { code: error.code, message: error.message };
  if (error instanceof BadRequestError || error instanceof RangeError) {
    return { code: 'invalid', message: error.message };
  }
  if (error instanceof LockError) {
    const { code, message } = error;
    if (error instanceof LockContendedError || error instanceof LockTimeoutError) {
      return { code, message, ...holdersReply(error.blockers) };
    }
    if (error instanceof PermitsDifferError) {
      return { code, message, ...holdersReply([error.ticket]) };
    }
    return { code, message };
  }
  log('failed error=%o', error);
  // Its text may tell a client what only the operator should read: of the store, or of this program.
  return { code: 'internal', message: 'the lock server failed; DEBUG=berth:lock-server says why' };
}

const statusByCode: Readonly<Record<string, number>> = {
  invalid: 400,
  unsupported: 400,
  unavailable: 503,
  internal: 500,
};

function statusOf(error: unknown, { code }: Failure): number {
  // What else the locks refuse conflicts with another holder, or with an operator's will.
  return error instanceof RefusedError ? error.status : (statusByCode[code] ?? 409);
}
