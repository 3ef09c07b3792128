import { SessionGoneError } from '../../errors.ts';
import type { Gate, Ticket, TicketRequest } from '../../ticket.ts';
import { recordsOf, storedPart } from '../../ticket.ts';
import { toStoredTicket } from '../../ticket-schema.ts';
import type { StoreHistory } from '../store-history.ts';
import type {
  Disabled,
  Granted,
  Placement,
  RecordNote,
  Refused,
  Waiting,
} from '../ticket-store.ts';
import type { Touches } from '../touches.ts';
import { touchesOf } from '../touches.ts';
import type { Row } from './connections.ts';
import type { Database } from './database.ts';
import { columnsOf, findBlockers, findOtherPermits, kinds, requirePermits } from './in-the-way.ts';
import {
  deleteRecords,
  putRecords,
  readBelowPrefix,
  readRecord,
  recordIn,
  recordsBelowIn,
} from './records.ts';
import { flag, number, parseTicket, texts, toGates } from './rows.ts';
import type { Sessions } from './sessions.ts';
import { toColumn } from './text.ts';
import type { Statement, Step, Transaction } from './write-steps.ts';

/** The facts that decide a request, in the state that a step sees. */
interface Standing {
  /** The ticket of an earlier call. */
  readonly written: Ticket | undefined;
  readonly gates: readonly Gate[];
  /** The nearest tickets in the way on each lock. */
  readonly blockers: readonly Ticket[];
  /** True: only a request with a proof may be granted. */
  readonly isQuarantined: boolean;
}

/** The tickets in the tables, in token order. */
export class TicketQueue {
  readonly #database: Database;
  readonly #sessions: Pick<Sessions, 'isTaken' | 'ownership'>;
  readonly #history: Pick<StoreHistory<never>, 'requireOpen'>;

  constructor(
    database: Database,
    sessions: Pick<Sessions, 'isTaken' | 'ownership'>,
    history: Pick<StoreHistory<never>, 'requireOpen'>,
  ) {
    this.#database = database;
    this.#sessions = sessions;
    this.#history = history;
  }

  enqueue(request: TicketRequest): Promise<Granted | Waiting | Disabled> {
    const step: Step<Granted | Waiting | Disabled> = ([row], transaction) => {
      const { written, gates, blockers, isQuarantined } = aliveStanding(row, request);
      if (gates.length > 0) return { state: 'disabled', gates };
      if (!written) requirePermits(request, row);
      const isWaiting = written !== undefined && blockers.length > 0;
      if (!isWaiting) this.#history.requireOpen(isQuarantined, request.proof);
      const ticket = written ?? this.#add(request, transaction);
      if (blockers.length === 0) return granted(ticket, request, row);
      const { effects } = transaction;
      const revision = effects.hasAny() ? effects.revision : effects.revision - 1;
      return { state: 'waiting', ticket, blockers, revision };
    };
    return this.#database.write(this.#look(request), step, touchesOfRequest(request));
  }

  tryEnqueue(request: TicketRequest): Promise<Granted | Refused | Disabled> {
    const step: Step<Granted | Refused | Disabled> = ([row], transaction) => {
      const { written, gates, blockers, isQuarantined } = aliveStanding(row, request);
      if (gates.length > 0) return { state: 'disabled', gates };
      if (!written) requirePermits(request, row);
      this.#history.requireOpen(isQuarantined, request.proof);
      if (blockers.length > 0) return { state: 'refused', blockers };
      return granted(written ?? this.#add(request, transaction), request, row);
    };
    return this.#database.write(this.#look(request), step, touchesOfRequest(request));
  }

  async place(ticket: Ticket): Promise<Placement> {
    const { counter } = this.#database.tables;
    const row = await this.#database.read(
      `(SELECT revision FROM ${counter}) AS revision, ${this.#exists('$1', '$2', ['$5', '$6'])} AS exists,
       ${this.#gates('$3')} AS gates, ${findBlockers(this.#database.tables, '$2', ticket)} AS blockers,
       ${this.#quarantine} AS is_quarantined`,
      [...this.#placeOf(ticket), ...this.#sessions.ownership(ticket.session)],
    );
    if (!flag(row, 'exists')) return { state: 'gone' };
    const { gates, blockers, isQuarantined } = standing(row);
    if (gates.length > 0) return { state: 'disabled', gates };
    if (blockers.length === 0) {
      this.#history.requireOpen(isQuarantined, undefined);
      return { state: 'granted', ticket };
    }
    return { state: 'waiting', ticket, blockers, revision: number(row, 'revision') };
  }

  async stands(ticket: Ticket): Promise<boolean> {
    const row = await this.#database.read(
      `${this.#exists('$1', '$2', ['$5', '$6'])} AS exists, ${findBlockers(this.#database.tables, '$2', ticket)} AS blockers`,
      [...this.#placeOf(ticket), ...this.#sessions.ownership(ticket.session)],
    );
    return flag(row, 'exists') && texts(row, 'blockers').length === 0;
  }

  remove(target: Ticket | TicketRequest, claim?: string, note?: RecordNote): Promise<void> {
    const { tickets, records } = this.#database.tables;
    const isOurs = `NOT ${this.#sessions.isTaken('$3', '$4')}`;
    return this.#database.write(
      [
        `SELECT ARRAY(SELECT ticket FROM ${tickets} WHERE nonce = $1 AND ${isOurs}) AS tickets,
                EXISTS (SELECT 1 FROM ${records} WHERE key = $2 AND ${isOurs}) AS is_claimed`,
        [
          toColumn(target.nonce),
          toColumn(claim ?? ''),
          ...this.#sessions.ownership(target.session),
        ],
      ],
      ([row], transaction) => {
        const found = texts(row, 'tickets')
          .map(parseTicket)
          .filter(({ token }) => !('token' in target) || token === target.token);
        this.#database.deleteTickets(found, transaction);
        if (note && found.length > 0) putRecords(this.#database, [note], transaction);
        if (claim !== undefined && flag(row, 'is_claimed')) {
          deleteRecords(this.#database, [claim], transaction);
        }
      },
      touchesOf([target], { written: keysOf(claim, note?.key) }),
    );
  }

  async tickets(lockName?: string): Promise<readonly Ticket[]> {
    const { tickets, ticketLocks } = this.#database.tables;
    const onLock = `WHERE token IN (SELECT token FROM ${ticketLocks} WHERE name = $1)`;
    const row = await this.#database.read(
      `ARRAY(SELECT ticket FROM ${tickets} ${lockName === undefined ? '' : onLock} ORDER BY token) AS tickets`,
      lockName === undefined ? [] : [toColumn(lockName)],
    );
    return texts(row, 'tickets').map(parseTicket);
  }

  #look(request: TicketRequest): Statement {
    const { session, nonce, locks, read, readBelow } = request;
    const { sessions, tickets } = this.#database.tables;
    const record = read === undefined ? '' : `, ${readRecord('$5', this.#database)}`;
    const isBelow = read !== undefined && readBelow !== undefined;
    const below = isBelow ? `, ${readBelowPrefix('$6', this.#database)}` : '';
    const written = `SELECT token FROM ${tickets} WHERE nonce = $2`;
    const asked = [
      ...(read === undefined ? [] : [toColumn(read)]),
      ...(isBelow ? [toColumn(readBelow)] : []),
    ];
    const isTaken = this.#sessions.isTaken('$1', `$${5 + asked.length}`);
    const [, incarnation] = this.#sessions.ownership(session);
    // Every existing ticket is lower than one that is not written yet.
    const lower = `COALESCE((${written}), ${Number.MAX_SAFE_INTEGER})`;
    return [
      `SELECT EXISTS (
         SELECT 1 FROM ${sessions} WHERE id = $1 AND NOT (${this.#database.isOver})
       ) AND NOT ${isTaken} AS is_alive,
       ARRAY(SELECT ticket FROM ${tickets} WHERE nonce = $2) AS written,
       ${this.#quarantine} AS is_quarantined,
       ${this.#gates('$3')} AS gates, ${findBlockers(this.#database.tables, lower, request)} AS blockers${findOtherPermits(this.#database.tables, request)}${record}${below}`,
      [toColumn(session), toColumn(nonce), ...columnsOf(locks), ...asked, incarnation],
    ];
  }

  #placeOf(ticket: Ticket) {
    return [toColumn(ticket.nonce), ticket.token, ...columnsOf(ticket.locks)];
  }

  #add(request: TicketRequest, { effects, send }: Transaction): Ticket {
    const { tickets, ticketLocks } = this.#database.tables;
    const stored = storedPart(request);
    const { session, nonce, locks } = stored;
    const token = effects.revision;
    const ticket: Ticket = { ...stored, id: String(token), token };
    send(`INSERT INTO ${tickets} (token, nonce, session, ticket) VALUES ($1, $2, $3, $4)`, [
      token,
      toColumn(nonce),
      toColumn(session),
      JSON.stringify(toStoredTicket(ticket)),
    ]);
    send(
      `INSERT INTO ${ticketLocks} (token, name, is_exclusive, permits)
       SELECT $1, name, kind <> ${kinds.shared}, CASE WHEN kind > 0 THEN kind END
       FROM unnest($2::text[], $3::int8[]) AS wanted (name, kind)`,
      [token, ...columnsOf(locks)],
    );
    effects.tickets.push(ticket);
    putRecords(this.#database, recordsOf(request), { effects, send });
    return ticket;
  }

  get #quarantine(): string {
    const { quarantine } = this.#database.tables;
    return `EXISTS (SELECT 1 FROM ${quarantine} WHERE until > clock_timestamp())`;
  }

  #exists(nonce: string, token: string, ownership: readonly [string, string]): string {
    const { tickets } = this.#database.tables;
    const isThere = `EXISTS (SELECT 1 FROM ${tickets} WHERE nonce = ${nonce} AND token = ${token}::int8)`;
    return `(${isThere} AND NOT ${this.#sessions.isTaken(...ownership)})`;
  }

  #gates(names: string): string {
    const { gates } = this.#database.tables;
    return `ARRAY(SELECT gate FROM ${gates} WHERE lock_name = ANY(${names}::text[]))`;
  }
}

/** Undefined for a request that reads records of any names. */
function touchesOfRequest(request: TicketRequest): Touches | undefined {
  const { mark, claim, read, readBelow } = request;
  if (readBelow !== undefined) return undefined;
  return touchesOf([request], { read: keysOf(read), written: keysOf(mark, claim?.key) });
}

function keysOf(...keys: readonly (string | undefined)[]): string[] {
  return keys.filter((key) => key !== undefined);
}

function granted(
  ticket: Ticket,
  { read, readBelow }: TicketRequest,
  row: Row | undefined,
): Granted {
  if (read === undefined) return { state: 'granted', ticket };
  const below = readBelow === undefined ? {} : { below: recordsBelowIn(row) };
  return { state: 'granted', ticket, read: { record: recordIn(row, read), ...below } };
}

function standing(row: Row | undefined): Omit<Standing, 'written'> {
  return {
    gates: toGates(texts(row, 'gates')),
    blockers: texts(row, 'blockers').map(parseTicket),
    isQuarantined: flag(row, 'is_quarantined'),
  };
}

/** Reads the standing; throws `SessionGoneError` if the session has expired or is another client's now. */
function aliveStanding(row: Row | undefined, { session }: TicketRequest): Standing {
  if (!flag(row, 'is_alive')) throw new SessionGoneError(`session ${session} has ended`);
  return { written: texts(row, 'written').map(parseTicket)[0], ...standing(row) };
}
