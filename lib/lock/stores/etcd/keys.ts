import type { IKeyValue, IRangeRequest } from '../../../etcd/client.ts';
import type { Gate, LockRequest, Mode, Ticket, TicketRequest } from '../../ticket.ts';
import { parseGate, parseTicketRequest } from '../../ticket-schema.ts';
import type { StoredRecord } from '../ticket-store.ts';
import { ForeignValueError } from './txn.ts';

/**
 * Where everything stands in etcd:
 *
 *     PREFIX/locks/<lock name>/<x|s>/<session>-<slot>    one key per lock of a ticket
 *     PREFIX/locks/<lock name>/z                         the lock's gate, when it is closed
 *     PREFIX/records/<record key>
 *
 * A gate lies where one comparison covers it together with the tickets that a request conflicts
 * with: behind all of them for an exclusive request, behind the exclusive ones for a shared one.
 *
 * Names are used again and again (a slot is a small number), because every range read walks the
 * deleted keys too until etcd compacts. What tells two tickets in one place apart is the key's
 * create revision, the token; and the nonce in the value.
 */
export class EtcdKeys {
  readonly prefix: string;
  readonly locksPrefix: string;
  readonly recordsPrefix: string;

  constructor(prefix: string) {
    this.prefix = `${prefix.replace(/\/+$/, '')}/`;
    this.locksPrefix = `${this.prefix}locks/`;
    this.recordsPrefix = `${this.prefix}records/`;
  }

  ticketKey(lock: LockRequest, id: string): Buffer {
    return Buffer.from(`${this.lockPrefix(lock.name)}${modeLetters[lock.mode]}/${id}`);
  }

  ticketKeys(ticket: { id: string; locks: readonly LockRequest[] }): Buffer[] {
    return ticket.locks.map((lock) => this.ticketKey(lock, ticket.id));
  }

  lockPrefix(name: string): string {
    return `${this.locksPrefix}${encodeURIComponent(name)}/`;
  }

  gateKey(lockName: string): Buffer {
    return Buffer.from(`${this.lockPrefix(lockName)}${gateLetter}`);
  }

  /** All that keeps a request of this mode from being granted at once: tickets and the gate. */
  conflictRange(lock: LockRequest): { key: Buffer; range_end: Buffer } {
    return {
      key: this.#firstConflict(lock),
      range_end: Buffer.from(`${this.lockPrefix(lock.name)}{`),
    };
  }

  /** Reads the nearest (highest) ticket that conflicts; only those below `token` when given. */
  nearestConflict(lock: LockRequest, token?: number): IRangeRequest {
    return {
      key: this.#firstConflict(lock),
      range_end: this.gateKey(lock.name),
      sort_target: 'Create',
      sort_order: 'Descend',
      limit: 1,
      ...(token === undefined ? {} : { max_create_revision: token - 1 }),
    };
  }

  recordKey(key: string): Buffer {
    return Buffer.from(this.recordsPrefix + key);
  }

  isTicket(key: string): boolean {
    return key.startsWith(this.locksPrefix) && !this.isGate(key);
  }

  isGate(key: string): boolean {
    if (!key.endsWith(`/${gateLetter}`) || !key.startsWith(this.locksPrefix)) return false;
    return key.indexOf('/', this.locksPrefix.length) === key.length - `/${gateLetter}`.length;
  }

  isRecord(key: string): boolean {
    return key.startsWith(this.recordsPrefix);
  }

  /** A ticket's key, or a gate's, with something that no berth has written. */
  isForeign(kv: IKeyValue): boolean {
    const key = kv.key.toString();
    try {
      if (this.isGate(key)) this.parseGate(kv);
      else if (this.isTicket(key)) this.parseTicket(kv);
      return false;
    } catch (error) {
      if (error instanceof ForeignValueError) return true;
      throw error;
    }
  }

  parseTicket(kv: IKeyValue): Ticket {
    const key = kv.key.toString();
    return {
      ...parsed(kv, parseTicketRequest),
      id: key.slice(key.lastIndexOf('/') + 1),
      token: Number(kv.create_revision),
    };
  }

  /** The tickets among `kvs`: one per nonce, though each has a key per lock. In token order. */
  parseTickets(kvs: readonly IKeyValue[]): Ticket[] {
    const tickets = new Map<string, Ticket>();
    for (const kv of kvs) {
      if (!this.isTicket(kv.key.toString())) continue;
      const ticket = this.parseTicket(kv);
      tickets.set(ticket.nonce, ticket);
    }
    return [...tickets.values()].sort((a, b) => a.token - b.token);
  }

  parseGate(kv: IKeyValue): Gate {
    return parsed(kv, parseGate);
  }

  /** The gates among `kvs`, by lock name. */
  parseGates(kvs: readonly IKeyValue[]): Gate[] {
    return kvs
      .filter((kv) => this.isGate(kv.key.toString()))
      .map((kv) => this.parseGate(kv))
      .sort((a, b) => (a.lockName < b.lockName ? -1 : 1));
  }

  parseRecord(kv: IKeyValue): StoredRecord {
    return {
      key: kv.key.toString().slice(this.recordsPrefix.length),
      value: kv.value.toString(),
      revision: Number(kv.mod_revision),
    };
  }

  /** The lock whose gate a key is. */
  gatedLock(key: string): string {
    return decodeURIComponent(key.slice(this.locksPrefix.length, -`/${gateLetter}`.length));
  }

  #firstConflict({ name, mode }: LockRequest): Buffer {
    const prefix = this.lockPrefix(name);
    return Buffer.from(mode === 'exclusive' ? prefix : `${prefix}${modeLetters.exclusive}/`);
  }
}

/** What is stored under each key of a ticket. */
export function ticketValue(request: TicketRequest): Buffer {
  const { nonce, session, locks, kind, owner, holder } = request;
  return Buffer.from(JSON.stringify({ nonce, session, locks, kind, owner, holder }));
}

function parsed<T>(kv: IKeyValue, parse: (text: string) => T): T {
  try {
    return parse(kv.value.toString());
  } catch (error) {
    throw new ForeignValueError(foreignText(kv.key.toString()), { cause: error });
  }
}

/** For the person who has to find it. */
export function foreignText(key: string): string {
  return `etcd holds something at ${key} that berth did not write; remove it`;
}

const modeLetters: Record<Mode, string> = { exclusive: 'x', shared: 's' };

/** Sorts behind both modes. */
const gateLetter = 'z';
