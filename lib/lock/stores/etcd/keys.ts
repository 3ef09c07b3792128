import type { IKeyValue, IRangeRequest } from '../../../etcd/client.ts';
import type { Gate, LockRequest, PermitRequest, Ticket, TicketRequest } from '../../ticket.ts';
import { parseGate, parseTicketRequest, toStoredLocks } from '../../ticket-schema.ts';
import type { StoredRecord } from '../ticket-store.ts';
import { ForeignValueError } from './txn.ts';

/**
 * The layout of the keys in etcd:
 *
 *     PREFIX/locks/<lock name>/<x|s>/<session>-<slot>    one key per lock of a ticket
 *     PREFIX/locks/<lock name>/x/~<permits>.<session>-<slot>    one of so many permits (four digits)
 *     PREFIX/locks/<lock name>/z                         the lock's gate, when it is closed
 *     PREFIX/records/<record key>
 *     PREFIX/sessions/<session>                          which process the session is of (sessions.ts); leased
 *     PREFIX/history/current                             which history this is (history-record.ts)
 *     PREFIX/history/quarantine                          leased; while it is there, nobody is granted
 *                                                        a lock without a proof
 *
 * Permits sort behind all other tickets of a lock, by their number. They lie among the exclusive ones, and their
 * values say `exclusive`: a release that knows no permits takes each for an exclusive ticket, so it waits for
 * it, and its own exclusive and shared tickets are waited for.
 *
 * A gate sorts directly behind the tickets, so that one comparison covers it together with the
 * tickets that a request conflicts with: all of them for an exclusive request, the exclusive ones
 * for a shared one.
 *
 * Keys are reused (a slot is a small number), because until etcd compacts, every range read also
 * walks deleted keys. The key's create revision (the token) and the nonce in the value distinguish
 * two tickets with one key.
 */
export class EtcdKeys {
  readonly prefix: string;
  readonly locksPrefix: string;
  readonly recordsPrefix: string;
  readonly historyKey: Buffer;
  readonly quarantineKey: Buffer;

  constructor(prefix: string) {
    this.prefix = `${prefix.replace(/\/+$/, '')}/`;
    this.locksPrefix = `${this.prefix}locks/`;
    this.recordsPrefix = `${this.prefix}records/`;
    this.historyKey = Buffer.from(`${this.prefix}history/current`);
    this.quarantineKey = Buffer.from(`${this.prefix}history/quarantine`);
  }

  ticketKey(lock: LockRequest, id: string): Buffer {
    const prefix = this.lockPrefix(lock.name);
    if (lock.mode === 'permit') return Buffer.from(`${prefix}${permitsOf(lock)}.${id}`);
    return Buffer.from(`${prefix}${modeLetters[lock.mode]}/${id}`);
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

  /** Returns the range of the keys that block a request of this mode: tickets and the gate. */
  conflictRange(lock: LockRequest): { key: Buffer; range_end: Buffer } {
    return {
      key: this.#firstConflict(lock),
      range_end: Buffer.from(`${this.lockPrefix(lock.name)}{`),
    };
  }

  /**
   * Returns the reads of the nearest (highest) tickets that block a request, below `token` if given: the nearest
   * conflicting one, and for a permit as many permits as there are, which block it if all of them are found.
   */
  nearest(lock: LockRequest, token?: number): IRangeRequest[] {
    const below = token === undefined ? {} : { max_create_revision: token - 1 };
    const highest = { sort_target: 'Create', sort_order: 'Descend', ...below } as const;
    const { key } = this.conflictRange(lock);
    if (lock.mode !== 'permit') {
      return [{ key, range_end: this.gateKey(lock.name), ...highest, limit: 1 }];
    }
    const permits = this.permitRange(lock);
    return [
      { key, range_end: permits.key, ...highest, limit: 1 },
      { ...permits, ...highest, limit: lock.permits },
    ];
  }

  /** Returns the range of the permits of a lock. */
  permitRange(lock: PermitRequest): { key: Buffer; range_end: Buffer } {
    const prefix = this.lockPrefix(lock.name);
    return {
      key: Buffer.from(prefix + firstPermit),
      range_end: Buffer.from(prefix + afterPermits),
    };
  }

  /** Returns the ranges of the permits of a lock that say another number than the request. */
  otherPermits(lock: LockRequest): { key: Buffer; range_end: Buffer }[] {
    if (lock.mode !== 'permit') return [];
    const { key, range_end } = this.permitRange(lock);
    const own = this.lockPrefix(lock.name) + permitsOf(lock);
    return [
      { key, range_end: Buffer.from(`${own}.`) },
      { key: Buffer.from(`${own}/`), range_end },
    ];
  }

  /** Returns, of what `nearest` has found for all locks, what blocks the request. */
  inTheWay<T extends Pick<IKeyValue, 'key'>>(locks: readonly LockRequest[], found: readonly T[]) {
    const free = locks.flatMap((lock) => {
      if (lock.mode !== 'permit') return [];
      const prefix = `${this.lockPrefix(lock.name)}${firstPermit}`;
      const permits = found.filter(({ key }) => key.toString().startsWith(prefix));
      return permits.length < lock.permits ? permits : [];
    });
    return found.filter((kv) => !free.includes(kv));
  }

  sessionKey(id: string): Buffer {
    return Buffer.from(`${this.prefix}sessions/${encodeURIComponent(id)}`);
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

  /** True if the key of a ticket or a gate holds a value that berth did not write. */
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

  /** Reads a ticket. Throws ForeignValueError for a value that is none, or not the one of this key. */
  parseTicket(kv: IKeyValue): Ticket {
    const key = kv.key.toString();
    const last = key.slice(key.lastIndexOf('/') + 1);
    const id = last.startsWith('~') ? last.slice(last.indexOf('.') + 1) : last;
    const request = parsed(kv, (text) => {
      const ticket = parseTicketRequest(text);
      // A copy of a ticket under another lock would hide that lock's own tickets, or the ticket itself.
      if (ticket.locks.some((lock) => kv.key.equals(this.ticketKey(lock, id)))) return ticket;
      throw new Error('the ticket is for other locks than that of its key');
    });
    return { ...request, id, token: Number(kv.create_revision) };
  }

  /** Returns the tickets among `kvs` in token order: one per nonce, though each lock has a key. */
  parseTickets(kvs: readonly IKeyValue[]): Ticket[] {
    const tickets = new Map<string, Ticket>();
    for (const kv of kvs) {
      if (!this.isTicket(kv.key.toString())) continue;
      const ticket = this.parseTicket(kv);
      tickets.set(ticket.nonce, ticket);
    }
    return [...tickets.values()].sort((a, b) => a.token - b.token);
  }

  /** Reads a gate. Throws ForeignValueError for a value that is none, or another lock's. */
  parseGate(kv: IKeyValue): Gate {
    return parsed(kv, (text) => {
      const gate = parseGate(text);
      if (kv.key.equals(this.gateKey(gate.lockName))) return gate;
      throw new Error('the gate is of another lock than that of its key');
    });
  }

  /** Returns the gates among `kvs`, by lock name. */
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

  /** Returns the lock of a gate's key; no lock has the name of a key that berth did not write. */
  gatedLock(key: string): string {
    const name = key.slice(this.locksPrefix.length, -`/${gateLetter}`.length);
    try {
      return decodeURIComponent(name);
    } catch {
      return name;
    }
  }

  #firstConflict({ name, mode }: LockRequest): Buffer {
    const prefix = this.lockPrefix(name);
    return Buffer.from(mode === 'shared' ? `${prefix}${modeLetters.exclusive}/` : prefix);
  }
}

/** Returns the value of each key of a ticket. */
export function ticketValue(request: TicketRequest): Buffer {
  const { nonce, session, kind, owner, holder } = request;
  const locks = toStoredLocks(request.locks);
  return Buffer.from(JSON.stringify({ nonce, session, locks, kind, owner, holder }));
}

function parsed<T>(kv: IKeyValue, parse: (text: string) => T): T {
  try {
    return parse(kv.value.toString());
  } catch (error) {
    throw new ForeignValueError(foreignText(kv.key.toString()), { cause: error });
  }
}

/** Describes a foreign value for the person who has to remove it. */
export function foreignText(key: string): string {
  return `etcd holds something at ${key} that berth did not write; remove it`;
}

const modeLetters = { exclusive: 'x', shared: 's' } as const;

/** Sorts behind all other exclusive tickets: no session begins with this character. */
const firstPermit = `${modeLetters.exclusive}/~`;
/** The text that sorts next after all keys that begin with the letter of exclusive tickets and a slash. */
const afterPermits = `${modeLetters.exclusive}0`;

function permitsOf({ permits }: PermitRequest): string {
  return firstPermit + String(permits).padStart(4, '0');
}

/** The letter of a gate; sorts behind both modes. */
const gateLetter = 'z';
