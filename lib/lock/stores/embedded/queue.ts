import { GuardLostError, PermitsDifferError } from '../../errors.ts';
import type { LockRequest, Ticket, TicketRequest } from '../../ticket.ts';
import { recordsOf, storedPart } from '../../ticket.ts';
import { toStoredLocks } from '../../ticket-schema.ts';
import type { Effects } from '../effects.ts';
import { judgeChange } from '../guarded-change.ts';
import type {
  Committed,
  Disabled,
  Granted,
  GuardedChange,
  Placement,
  RecordNote,
  Refused,
  StoredRecord,
  Waiting,
} from '../ticket-store.ts';
import type { Gates } from './gates.ts';
import type { LockFile } from './lock-file.ts';
import type { Sessions } from './sessions.ts';
import type { Row } from './statements.ts';
import { integer, toRecord, toTicket } from './statements.ts';

/**
 * The tickets, and the records that they protect. A step looks for dead processes only if a request
 * would have to wait for one, because reading /proc costs more than the rest of a step.
 */
export class TicketQueue {
  readonly #file: LockFile;
  readonly #sessions: Sessions;
  readonly #gates: Gates;

  constructor(file: LockFile, sessions: Sessions, gates: Gates) {
    this.#file = file;
    this.#sessions = sessions;
    this.#gates = gates;
  }

  enqueue(request: TicketRequest): Granted | Waiting | Disabled {
    return this.#file.write((effects) => {
      this.#sessions.check(request.session);
      const disabled = this.#gates.disabled(request.locks);
      if (disabled) return disabled;
      const written = this.#find(request.nonce);
      if (!written) this.#checkPermits(request.locks, effects);
      const ticket = written ?? this.#add(request, effects);
      let place = this.#placement(ticket, effects.revision);
      if (place.state === 'waiting' && this.#sessions.dropDead(effects)) {
        place = this.#placement(ticket, effects.revision);
      }
      return place.state === 'granted' ? this.#granted(ticket, request) : place;
    });
  }

  tryEnqueue(request: TicketRequest): Granted | Refused | Disabled {
    return this.#file.write((effects) => {
      this.#sessions.check(request.session);
      const disabled = this.#gates.disabled(request.locks);
      if (disabled) return disabled;
      const found = this.#find(request.nonce);
      if (!found) this.#checkPermits(request.locks, effects);
      const below = found?.token ?? effects.revision;
      let blockers = this.#blockers(request.locks, below);
      if (blockers.length > 0 && this.#sessions.dropDead(effects)) {
        blockers = this.#blockers(request.locks, below);
      }
      if (blockers.length > 0) return { state: 'refused', blockers };
      return this.#granted(found ?? this.#add(request, effects), request);
    });
  }

  place(ticket: Ticket): Placement {
    const seen = this.#file.read(() => this.#place(ticket, this.#file.revision()));
    if (seen.state !== 'waiting' || !this.#sessions.hasDead()) return seen;
    return this.#file.write((effects) => {
      const isChanged = this.#sessions.dropDead(effects);
      return this.#place(ticket, isChanged ? effects.revision : effects.revision - 1);
    });
  }

  stands(ticket: Ticket): boolean {
    return this.#file.read(
      () =>
        !this.#sessions.isTaken(ticket.session) &&
        this.#exists(ticket) &&
        this.#blockers(ticket.locks, ticket.token).length === 0,
    );
  }

  remove(target: Ticket | TicketRequest, claim?: string, note?: RecordNote): void {
    this.#file.write((effects) => {
      if (this.#sessions.isTaken(target.session)) return;
      if (claim !== undefined) this.#writeRecord(claim, undefined, effects);
      const ticket = this.#find(target.nonce);
      if (ticket === undefined || ('token' in target && target.token !== ticket.token)) return;
      this.#delete(ticket, effects);
      if (note) this.#writeRecord(note.key, note.value, effects);
    });
  }

  commit(change: GuardedChange): Committed {
    return this.#file.write((effects) => {
      const taken = [...change.guards, ...change.release].find(({ session }) =>
        this.#sessions.isTaken(session),
      );
      if (taken) throw new GuardLostError(`ticket ${taken.token} is another process's now`);
      const judgement = judgeChange(change, {
        exists: (ticket) => this.#exists(ticket),
        record: (key) => this.record(key),
      });
      if (judgement.state === 'refused') throw judgement.error;
      const last = effects.revision - 1;
      if (judgement.state === 'made') return { revision: judgement.revision ?? last };
      for (const { key, value } of change.writes) this.#writeRecord(key, value, effects);
      for (const ticket of change.release) this.#delete(ticket, effects);
      return { revision: effects.hasAny() ? effects.revision : last };
    });
  }

  tickets(lockName?: string): readonly Ticket[] {
    if (this.#sessions.hasDead()) this.#file.write((effects) => this.#sessions.dropDead(effects));
    const { tickets, ticketsOfLock } = this.#file.statements;
    return (lockName === undefined ? tickets.all() : ticketsOfLock.all(lockName)).map(toTicket);
  }

  record(key: string): StoredRecord | undefined {
    const row = this.#file.statements.record.get(key);
    return row === undefined ? undefined : toRecord(row);
  }

  records(prefix: string): readonly StoredRecord[] {
    return this.#file.statements.recordsBelow.all(prefix).map(toRecord);
  }

  #place(ticket: Ticket, revision: number): Placement {
    const isOurs = !this.#sessions.isTaken(ticket.session);
    if (!isOurs || !this.#exists(ticket)) return { state: 'gone' };
    return this.#gates.disabled(ticket.locks) ?? this.#placement(ticket, revision);
  }

  #placement(ticket: Ticket, revision: number): Granted | Waiting {
    const blockers = this.#blockers(ticket.locks, ticket.token);
    if (blockers.length === 0) return { state: 'granted', ticket };
    return { state: 'waiting', ticket, blockers, revision };
  }

  #granted(ticket: Ticket, { read, readBelow }: TicketRequest): Granted {
    if (read === undefined) return { state: 'granted', ticket };
    const below = readBelow === undefined ? {} : { below: this.records(readBelow) };
    return { state: 'granted', ticket, read: { record: this.record(read), ...below } };
  }

  #blockers(locks: readonly LockRequest[], below: number): Ticket[] {
    const tokens = new Set<number>();
    for (const lock of locks) {
      for (const row of this.#inTheWay(lock, below)) tokens.add(integer(row, 'token'));
    }
    return [...tokens]
      .sort((a, b) => a - b)
      .flatMap((token) => this.#file.statements.ticketByToken.all(token).map(toTicket));
  }

  #inTheWay(lock: LockRequest, below: number): Row[] {
    const { name, mode } = lock;
    const { nearestInTheWay, nearestWithoutPermit, nearestPermits } = this.#file.statements;
    // A permit counts as exclusive for all but permits.
    if (mode !== 'permit') return nearestInTheWay.all(name, below, mode === 'shared' ? 1 : 0);
    const permits = nearestPermits.all(name, below, lock.permits);
    const isFull = permits.length >= lock.permits;
    return [...nearestWithoutPermit.all(name, below), ...(isFull ? permits : [])];
  }

  /** Throws PermitsDifferError if a living process's ticket says another number of permits. */
  #checkPermits(locks: readonly LockRequest[], effects: Effects): void {
    for (const lock of locks) {
      if (lock.mode !== 'permit') continue;
      const find = () => this.#file.statements.otherPermits.get(lock.name, lock.permits);
      if (find() && this.#sessions.dropDead(effects) && !find()) continue;
      const other = find();
      if (other) throw new PermitsDifferError(lock.name, lock.permits, toTicket(other));
    }
  }

  #find(nonce: string): Ticket | undefined {
    const row = this.#file.statements.ticketByNonce.get(nonce);
    return row === undefined ? undefined : toTicket(row);
  }

  #exists({ nonce, token }: Ticket): boolean {
    return this.#find(nonce)?.token === token;
  }

  #add(whole: TicketRequest, effects: Effects): Ticket {
    const request = storedPart(whole);
    const { session, nonce, locks, kind, owner, holder } = request;
    const { writeTicket, writeLock } = this.#file.statements;
    const token = effects.revision;
    const [locksText, holderText] = [JSON.stringify(toStoredLocks(locks)), JSON.stringify(holder)];
    writeTicket.run(token, nonce, session, locksText, kind, owner, holderText);
    for (const lock of locks) {
      const permits = lock.mode === 'permit' ? lock.permits : null;
      writeLock.run(lock.name, token, Number(lock.mode !== 'shared'), permits);
    }
    const ticket = { ...request, id: String(token), token };
    effects.tickets.push(ticket);
    for (const { key, value } of recordsOf(whole)) this.#writeRecord(key, value, effects);
    return ticket;
  }

  #delete({ id, nonce, token }: Ticket, effects: Effects): void {
    this.#file.statements.deleteTicket.run(token);
    effects.removedTickets.push({ id, nonce });
  }

  #writeRecord(key: string, value: string | undefined, effects: Effects): void {
    const { writeRecord, deleteRecord } = this.#file.statements;
    const { revision } = effects;
    if (value !== undefined) {
      writeRecord.run(key, value, revision);
      effects.records.push({ key, value, revision });
    } else if (deleteRecord.run(key).changes > 0) {
      effects.removedRecords.push(key);
    }
  }
}
