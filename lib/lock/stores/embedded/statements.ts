import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import type { ProcessIdentity } from '../../../linux/process-identity.ts';
import type { Gate, Holder, Ticket } from '../../ticket.ts';
import type { StoredLock } from '../../ticket-schema.ts';
import { parseChange, toLock, withTypedFacts } from '../../ticket-schema.ts';
import type { StoreChange, StoredRecord } from '../ticket-store.ts';

export type Row = Record<string, SQLOutputValue>;

/** A session as a row of the file. */
export interface SessionRow extends ProcessIdentity {
  readonly id: string;
  readonly resumable: boolean;
}

/** Compiles every statement of the store, once per connection. */
export function prepareStatements(db: DatabaseSync) {
  return {
    revision: db.prepare('SELECT revision FROM counter'),
    setRevision: db.prepare('UPDATE counter SET revision = ?'),
    history: db.prepare('SELECT id FROM history'),
    setHistory: db.prepare('UPDATE history SET id = ?'),
    dataVersion: db.prepare('PRAGMA data_version'),
    writtenRows: db.prepare('SELECT total_changes() AS rows'),

    session: db.prepare('SELECT * FROM sessions WHERE id = ?'),
    // A resumable session only ends with the boot.
    resumableSession: db.prepare('SELECT * FROM sessions WHERE resumable = 1 AND owner = ?'),
    mortalSessions: db.prepare('SELECT * FROM sessions WHERE resumable = 0 OR boot <> ?'),
    writeSession: db.prepare(
      'INSERT OR REPLACE INTO sessions (id, owner, resumable, pid, started, boot, namespace) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
    adoptSession: db.prepare(
      'UPDATE sessions SET owner = ?, resumable = ?, pid = ?, started = ?, boot = ?, namespace = ? WHERE id = ?',
    ),
    deleteSession: db.prepare('DELETE FROM sessions WHERE id = ?'),

    tickets: db.prepare('SELECT * FROM tickets ORDER BY token'),
    ticketsOfLock: db.prepare(
      'SELECT tickets.* FROM ticket_locks JOIN tickets USING (token) WHERE name = ? ORDER BY token',
    ),
    ticketsOfSession: db.prepare('SELECT * FROM tickets WHERE session = ? ORDER BY token'),
    ticketByNonce: db.prepare('SELECT * FROM tickets WHERE nonce = ?'),
    ticketByToken: db.prepare('SELECT * FROM tickets WHERE token = ?'),
    nearestInTheWay: db.prepare(
      'SELECT token FROM ticket_locks WHERE name = ? AND token < ? AND exclusive >= ? ORDER BY token DESC LIMIT 1',
    ),
    nearestWithoutPermit: db.prepare(
      'SELECT token FROM ticket_locks WHERE name = ? AND token < ? AND permits IS NULL ORDER BY token DESC LIMIT 1',
    ),
    nearestPermits: db.prepare(
      'SELECT token FROM ticket_locks WHERE name = ? AND token < ? AND permits IS NOT NULL ORDER BY token DESC LIMIT ?',
    ),
    otherPermits: db.prepare(
      'SELECT tickets.* FROM ticket_locks JOIN tickets USING (token) WHERE name = ? AND permits <> ? ORDER BY token LIMIT 1',
    ),
    writeTicket: db.prepare(
      'INSERT INTO tickets (token, nonce, session, locks, kind, owner, holder) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
    writeLock: db.prepare(
      'INSERT INTO ticket_locks (name, token, exclusive, permits) VALUES (?, ?, ?, ?)',
    ),
    deleteTicket: db.prepare('DELETE FROM tickets WHERE token = ?'),

    record: db.prepare('SELECT * FROM records WHERE key = ?'),
    records: db.prepare('SELECT * FROM records ORDER BY revision'),
    recordsBelow: db.prepare(
      'SELECT * FROM records WHERE substr(key, 1, length(?1)) = ?1 AND key >= ?1 ORDER BY key',
    ),
    writeRecord: db.prepare(
      'INSERT OR REPLACE INTO records (key, value, revision) VALUES (?, ?, ?)',
    ),
    deleteRecord: db.prepare('DELETE FROM records WHERE key = ?'),

    gate: db.prepare('SELECT gate FROM gates WHERE lock_name = ?'),
    gates: db.prepare('SELECT gate FROM gates ORDER BY lock_name'),
    closeGate: db.prepare('INSERT OR IGNORE INTO gates (lock_name, gate) VALUES (?, ?)'),
    openGate: db.prepare('DELETE FROM gates WHERE lock_name = ?'),

    changesAfter: db.prepare('SELECT change FROM changes WHERE revision > ? ORDER BY revision'),
    writeChange: db.prepare('INSERT INTO changes (revision, change) VALUES (?, ?)'),
    forgetChangesUpTo: db.prepare('DELETE FROM changes WHERE revision <= ?'),
  } satisfies Record<string, StatementSync>;
}

export type Statements = ReturnType<typeof prepareStatements>;

/** Reads a ticket's row. Tokens are unique for ever, so the token is also the id. */
export function toTicket(row: Row): Ticket {
  const token = integer(row, 'token');
  return withTypedFacts<Ticket>({
    id: String(token),
    token,
    session: text(row, 'session'),
    nonce: text(row, 'nonce'),
    locks: (JSON.parse(text(row, 'locks')) as StoredLock[]).map(toLock),
    kind: optionalText(row, 'kind'),
    owner: optionalText(row, 'owner'),
    holder: JSON.parse(text(row, 'holder')) as Holder,
  });
}

export function toRecord(row: Row): StoredRecord {
  return { key: text(row, 'key'), value: text(row, 'value'), revision: integer(row, 'revision') };
}

export function toGate(row: Row): Gate {
  return JSON.parse(text(row, 'gate')) as Gate;
}

export function toSession(row: Row): SessionRow {
  return {
    id: text(row, 'id'),
    resumable: integer(row, 'resumable') !== 0,
    pid: integer(row, 'pid'),
    started: text(row, 'started'),
    boot: text(row, 'boot'),
    namespace: text(row, 'namespace'),
  };
}

export function toChange(row: Row): StoreChange {
  return parseChange(text(row, 'change'));
}

export function integer(row: Row | undefined, column: string): number {
  const value = row?.[column];
  if (typeof value !== 'number') throw new Error(`the lock file has no number in ${column}`);
  return value;
}

function optionalText(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : text(row, column);
}

export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw new Error(`the lock file has no text in ${column}`);
  return value;
}
