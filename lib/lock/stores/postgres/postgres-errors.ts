import { types } from 'node:util';
import { messageOf } from '../../../running/message-of.ts';
import { StoreUnavailableError } from '../../errors.ts';

/** Sentences by SQLSTATE or by the code of a network error. The cure comes last. */
const sentences: Readonly<Record<string, string>> = {
  '08P01': 'it does not speak the protocol as expected; check the port',
  '25006': 'it only reads: it is a standby or set to be read-only; connect to the primary',
  '25P03': 'this process was too slow to finish a step, so the server rolled the step back',
  '28000': 'it refused the user; check the user, and pg_hba.conf on the server',
  '28P01': 'it refused the user or the password; check both',
  '3D000': 'it has no such database; create it or name another',
  '3F000':
    'the tables of the lock store are gone; restore them, or stop all clients and start again',
  '40001': 'too many clients change the locks at once',
  '40P01': 'too many clients change the locks at once',
  '42501': 'the user may not do this; make it the owner of the schema and its tables',
  '42P01':
    'the tables of the lock store are gone; restore them, or stop all clients and start again',
  '53100': 'its disk is full; make room',
  '53200': 'it is out of memory',
  '53300': 'it has no connection left; raise max_connections or close some',
  '55P03': 'another client has kept the tables locked for too long',
  '57014': 'it did not answer in time',
  '57P01': 'it is being shut down',
  '57P02': 'it is recovering from a crash',
  '57P03': 'it is starting up or shutting down',
  ECONNREFUSED: 'nothing answers at this address; check host and port, and that it runs',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
  ENOENT: 'there is no such socket; check the directory, and that it runs',
  ENOTFOUND: 'the name of the host is not known; check it',
  EAI_AGAIN: 'the name of the host could not be looked up just now',
  EHOSTUNREACH: 'its host is out of reach',
  ENETUNREACH: 'its network is out of reach',
  ETIMEDOUT: 'its host does not answer',
};

/** Classes of SQLSTATE about the statement or its values: a repeat fails too. */
const refusals = ['0A', '21', '22', '23', '42', '54'];

/**
 * Converts a failure of the client library for the store's caller: to a `StoreUnavailableError`, or
 * to a plain error if a repeat can't succeed. `server` names the database for people.
 */
export function explainPostgres(error: unknown, server: string): Error {
  const code = codeOf(error);
  const text = messageOf(error);
  if (sentences[code] === undefined && code.length === 5 && refusals.includes(code.slice(0, 2))) {
    return new Error(`${server} refused a statement: ${text}`, { cause: error });
  }
  // Whatever answers there says best what it did not expect.
  const said = code === '08P01' ? `it answers "${text}"; ` : '';
  const sentence = said + (sentences[code] ?? clientSentence(text));
  return new StoreUnavailableError(`${server} can't be used: ${sentence}`, { cause: error });
}

/** True if the database rolled the step back, and a retry may succeed: because of others, or of a statement's name. */
export function isConflict(error: unknown): boolean {
  const cause = causeOf(error);
  return ['40001', '40P01'].includes(codeOf(cause)) || isUnknownStatement(cause);
}

/** True if the server does not know a prepared statement, or has another of its name. */
export function isUnknownStatement(error: unknown): boolean {
  return ['26000', '42P05'].includes(codeOf(error));
}

/** True if a pooler has refused a connection because of a parameter that it does not know. */
export function isUnknownParameter(error: unknown): boolean {
  const cause = causeOf(error);
  return codeOf(cause) === '08P01' && /unsupported startup parameter/.test(messageOf(cause));
}

/** True if the user may not ask for something. */
export function isForbidden(error: unknown): boolean {
  return codeOf(causeOf(error)) === '42501';
}

/** True if a table or its schema is missing. */
export function isMissingTable(error: unknown): boolean {
  return ['3F000', '42P01'].includes(codeOf(causeOf(error)));
}

/** True if another client has created the same object at the same time. */
export function isMadeByAnother(error: unknown): boolean {
  return ['23505', '42P06', '42P07', '42710', 'XX000'].includes(codeOf(causeOf(error)));
}

/** Names the client library's own failures, which have no codes. */
function clientSentence(text: string): string {
  if (/password must be a string/.test(text)) return 'it asks for a password; give one';
  if (/does not support SSL/.test(text))
    return 'it does not offer TLS; turn it on there, or off here';
  if (/terminated/.test(text)) return 'the connection broke';
  return text;
}

function causeOf(error: unknown): unknown {
  return types.isNativeError(error) ? error.cause : undefined;
}

function codeOf(error: unknown): string {
  const isObject = typeof error === 'object' && error !== null;
  return isObject && 'code' in error ? String(error.code) : '';
}
