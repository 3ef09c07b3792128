import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const schemaVersion = 2;

/** SQLite waits this long itself and blocks the process; the caller does longer waits. */
const busyTimeoutMs = 20;

/**
 * Watchers in other processes read `changes`; each row is one revision. The revision counter has a
 * row of its own because `changes` is trimmed.
 */
const schema = `
  CREATE TABLE counter (revision INTEGER NOT NULL) STRICT;
  INSERT INTO counter VALUES (0);
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    resumable INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    boot TEXT NOT NULL,
    namespace TEXT NOT NULL
  ) STRICT;
  CREATE TABLE tickets (
    token INTEGER PRIMARY KEY,
    nonce TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL REFERENCES sessions (id),
    locks TEXT NOT NULL,
    holder TEXT NOT NULL
  ) STRICT;
  CREATE INDEX tickets_of_session ON tickets (session);
  CREATE TABLE ticket_locks (
    name TEXT NOT NULL,
    token INTEGER NOT NULL REFERENCES tickets (token) ON DELETE CASCADE,
    exclusive INTEGER NOT NULL,
    PRIMARY KEY (name, token)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX locks_of_ticket ON ticket_locks (token);
  CREATE TABLE records (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    revision INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE changes (revision INTEGER PRIMARY KEY, change TEXT NOT NULL) STRICT;
`;

/** Tables that format 2 adds. */
const gatesSchema = `
  CREATE TABLE gates (lock_name TEXT PRIMARY KEY, gate TEXT NOT NULL) STRICT;
`;

/** The file's history: a random ID. An earlier release leaves it alone. */
const historySchema = 'CREATE TABLE IF NOT EXISTS history (id TEXT NOT NULL) STRICT';

/**
 * Opens the file, and creates it and its directory if missing. Several processes may do so at once;
 * after a crash at any point, the next call continues. Throws SQLite's own errors; the caller
 * retries "busy". `onNew` is called before tables are created in a file that has none, and may throw.
 */
export function openDatabase(path: string, onNew: () => void = () => {}): DatabaseSync {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const db = new DatabaseSync(path, { timeout: busyTimeoutMs });
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
    inTransaction(db, 'IMMEDIATE', () => prepareSchema(db, path, onNew));
    // From here on SQLite syncs at checkpoints only; CommitSync syncs what is committed.
    db.exec('PRAGMA synchronous = NORMAL');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Runs `step` as one transaction: all of it is committed, or, if it throws, nothing. */
export function inTransaction<T>(
  db: DatabaseSync,
  kind: 'IMMEDIATE' | 'DEFERRED',
  step: () => T,
): T {
  db.exec(`BEGIN ${kind}`);
  try {
    const result = step();
    db.exec('COMMIT');
    return result;
  } finally {
    // After some errors (a full disk, say) SQLite has already rolled back.
    if (db.isTransaction) db.exec('ROLLBACK');
  }
}

/**
 * Copies the log into the database and syncs that. Throws an error that counts as busy while another
 * process uses a part of the log.
 */
export function checkpoint(db: DatabaseSync): void {
  const row = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
  if (row?.busy === 0) return;
  const sqliteBusy = { errcode: 5 };
  throw Object.assign(new Error('the lock file is in use by another process'), sqliteBusy);
}

function prepareSchema(db: DatabaseSync, path: string, onNew: () => void): void {
  const version = db.prepare('PRAGMA user_version').get()?.user_version;
  if (version === schemaVersion) {
    addColumns(db);
    addHistory(db);
    return;
  }
  if (version !== 0 && version !== 1) {
    throw new Error(
      `the lock file ${path} has format ${version}, which a newer version of berth wrote; this one knows format ${schemaVersion}`,
    );
  }
  if (version === 0) {
    onNew();
    db.exec(schema);
  }
  db.exec(gatesSchema);
  addColumns(db);
  addHistory(db);
  db.exec(`PRAGMA user_version = ${schemaVersion}`);
}

/**
 * Adds the columns `kind` and `owner` to the tickets, and `permits` to their locks. The format stays the
 * same: an earlier release reads and writes the file too, and leaves these columns NULL. It takes a permit
 * for an exclusive lock.
 */
function addColumns(db: DatabaseSync): void {
  if (!hasColumn(db, 'tickets', 'kind')) {
    db.exec('ALTER TABLE tickets ADD COLUMN kind TEXT; ALTER TABLE tickets ADD COLUMN owner TEXT');
  }
  if (!hasColumn(db, 'ticket_locks', 'permits')) {
    db.exec('ALTER TABLE ticket_locks ADD COLUMN permits INTEGER');
  }
}

function hasColumn(db: DatabaseSync, table: string, column: string): boolean {
  const columns = db.prepare(`PRAGMA table_info(${table})`).all();
  return columns.some(({ name }) => name === column);
}

function addHistory(db: DatabaseSync): void {
  db.exec(historySchema);
  if (db.prepare('SELECT id FROM history').get() !== undefined) return;
  db.prepare('INSERT INTO history VALUES (?)').run(randomUUID());
}

/** Looks through the whole file; returns what is wrong with it, undefined if nothing is. */
export function unsoundness(db: DatabaseSync): string | undefined {
  const found = db.prepare('PRAGMA quick_check(1)').get()?.quick_check;
  return found === 'ok' ? undefined : String(found);
}
