import type { IKeyValue, IRangeRequest } from '../../etcd.ts';
import { prefixRange } from '../../etcd.ts';
import type { LockRequest, Mode, Ticket, TicketRequest } from '../ticket.ts';
import { parseTicketRequest } from '../ticket-schema.ts';
import type { StoredRecord } from './ticket-store.ts';

/**
 * Where tickets and records stand in etcd:
 *
 *     PREFIX/locks/<lock name>/<x|s>/<session>-<slot>    one key per lock of a ticket
 *     PREFIX/records/<record key>
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

  /** All that a request of this mode would have to wait for. */
  conflictRange(lock: LockRequest): { key: Buffer; range_end: Buffer } {
    const prefix = this.lockPrefix(lock.name);
    return prefixRange(lock.mode === 'exclusive' ? prefix : `${prefix}${modeLetters.exclusive}/`);
  }

  /** Reads the nearest (highest) ticket that conflicts; only those below `token` when given. */
  nearestConflict(lock: LockRequest, token?: number): IRangeRequest {
    return {
      ...this.conflictRange(lock),
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
    return key.startsWith(this.locksPrefix);
  }

  isRecord(key: string): boolean {
    return key.startsWith(this.recordsPrefix);
  }

  parseTicket(kv: IKeyValue): Ticket {
    const key = kv.key.toString();
    return {
      ...parseTicketRequest(kv.value.toString()),
      id: key.slice(key.lastIndexOf('/') + 1),
      token: Number(kv.create_revision),
    };
  }

  /** One ticket per nonce, though each has a key per lock. In token order. */
  parseTickets(kvs: readonly IKeyValue[]): Ticket[] {
    const tickets = new Map<string, Ticket>();
    for (const kv of kvs) {
      const ticket = this.parseTicket(kv);
      tickets.set(ticket.nonce, ticket);
    }
    return [...tickets.values()].sort((a, b) => a.token - b.token);
  }

  parseRecord(kv: IKeyValue): StoredRecord {
    return {
      key: kv.key.toString().slice(this.recordsPrefix.length),
      value: kv.value.toString(),
      revision: Number(kv.mod_revision),
    };
  }
}

/** What is stored under each key of a ticket. */
export function ticketValue(request: TicketRequest): Buffer {
  const { nonce, session, locks, holder } = request;
  return Buffer.from(JSON.stringify({ nonce, session, locks, holder }));
}

const modeLetters: Record<Mode, string> = { exclusive: 'x', shared: 's' };
