import createDebug from 'debug';
import {
  LockClearRefusedError,
  LockContendedError,
  LockDisabledError,
  LockError,
  LockTimeoutError,
} from '../../lib/lock/errors.ts';
import type { Ticket } from '../../lib/lock/ticket.ts';
import { VolumeError } from '../../lib/volumes/errors.ts';
import { disabledBy } from '../../lib/volumes/operations/lock-refusals.ts';
import { bodyRefusal } from '../http/json-body.ts';
import type { Failure, FailureCode } from './api/long-work.ts';
import { holderReply } from './replies.ts';

const log = createDebug('berth:error');

const statusByCode: Readonly<Record<FailureCode, number>> = {
  invalid: 400,
  'not-found': 404,
  exists: 409,
  'in-use': 409,
  contended: 409,
  timeout: 409,
  refused: 409,
  lost: 409,
  cancelled: 409,
  disabled: 409,
  'not-still': 409,
  'command-failed': 409,
  unsupported: 400,
  unavailable: 503,
  internal: 500,
};

export function statusOf({ code }: Failure): number {
  return statusByCode[code];
}

/** Returns an error as the API reports it. Logs an unexpected error with its stack: a bug. */
export function failureOf(error: unknown): Failure {
  const expected = bodyRefusal(error) ?? error;
  if (expected instanceof VolumeError) {
    const holders = ticketsOf(expected.cause);
    return { code: expected.code, message: expected.message, ...holders };
  }
  if (expected instanceof LockDisabledError) return failureOf(disabledBy(expected.gates, expected));
  if (expected instanceof LockError) {
    return { code: expected.code, message: expected.message, ...ticketsOf(expected) };
  }
  log('failed error=%o', error);
  return { code: 'internal', message: `berth failed, see its log: ${error}` };
}

function ticketsOf(error: unknown): Pick<Failure, 'holders'> {
  const tickets = blockersIn(error);
  return tickets.length === 0 ? {} : { holders: tickets.map(holderReply) };
}

function blockersIn(error: unknown): readonly Ticket[] {
  if (error instanceof LockClearRefusedError) return error.tickets;
  if (error instanceof LockContendedError || error instanceof LockTimeoutError) {
    return error.blockers;
  }
  return [];
}
