import { setTimeout as pause } from 'node:timers/promises';
import { StoreRefusedError } from '../../errors.ts';
import type { Connection } from './connections.ts';
import { isConflict, isForbidden, isMadeByAnother, isMissingTable } from './postgres-errors.ts';
import { flag, number } from './rows.ts';

/** Format 1 had no incarnations of sessions. */
const schemaFormat = 2;
const maxTries = 20;

/** The names of the tables in SQL. */
export interface Tables {
  readonly schema: string;
  readonly counter: string;
  readonly sessions: string;
  readonly tickets: string;
  readonly ticketLocks: string;
  readonly records: string;
  readonly gates: string;
  readonly changes: string;
  readonly history: string;
  readonly quarantine: string;
}

/** Returns the tables of a schema. Throws RangeError if no schema can have that name. */
export function tablesIn(schema: string): Tables {
  const isPossible = schema !== '' && !schema.includes('\0') && schema.isWellFormed();
  if (!isPossible || Buffer.byteLength(schema) > 63 || schema.startsWith('pg_')) {
    throw new RangeError(
      `a schema of the lock store can't be named ${JSON.stringify(schema)}: 1 to 63 bytes, not beginning with pg_`,
    );
  }
  const quoted = `"${schema.replaceAll('"', '""')}"`;
  return {
    schema: quoted,
    counter: `${quoted}.counter`,
    sessions: `${quoted}.sessions`,
    tickets: `${quoted}.tickets`,
    ticketLocks: `${quoted}.ticket_locks`,
    records: `${quoted}.records`,
    gates: `${quoted}.gates`,
    changes: `${quoted}.changes`,
    history: `${quoted}.history`,
    quarantine: `${quoted}.quarantine`,
  };
}

/**
 * Creates missing tables. Several clients may do so at once; after a crash at any point, the next
 * client continues. Rejects with a plain `Error` if a newer version of berth created them.
 */
export async function prepareSchema(
  connection: Connection,
  schema: string,
  tables: Tables,
): Promise<void> {
  const { format, hasPermits } =
    (await readFormat(connection, tables)) ?? (await make(connection, schema, tables));
  if (format === schemaFormat && hasPermits) return;
  if (format <= schemaFormat) return await migrate(connection, tables);
  throw new Error(
    `the lock tables in schema ${schema} have format ${format}, which a newer version of berth made; this one knows format ${schemaFormat}`,
  );
}

/**
 * Adds what earlier releases lack. Several clients may do so at once, and after a crash the next one repeats it. The
 * column for permits is no new format: an earlier release leaves it NULL, and takes a permit for an exclusive lock.
 */
async function migrate(connection: Connection, tables: Tables): Promise<void> {
  const statements = [
    `ALTER TABLE ${tables.sessions} ADD COLUMN IF NOT EXISTS incarnation TEXT`,
    `ALTER TABLE ${tables.ticketLocks} ADD COLUMN IF NOT EXISTS permits INT8`,
    `UPDATE ${tables.counter} SET format = ${schemaFormat} WHERE format = 1`,
  ];
  try {
    await connection.script(statements);
  } catch (cause) {
    if (!isForbidden(cause)) throw cause;
    // Only the owner of a table may add a column; the user of the locks may have been given no more than its rows.
    throw new StoreRefusedError(
      `the lock tables in schema ${tables.schema} are of an earlier release, and this user may not change them; ` +
        `their owner has to run: ${statements.map((statement) => `${statement};`).join(' ')}`,
      { cause },
    );
  }
}

interface FoundFormat {
  readonly format: number;
  readonly hasPermits: boolean;
}

async function make(connection: Connection, schema: string, tables: Tables): Promise<FoundFormat> {
  for (let tries = 1; ; tries += 1) {
    try {
      // Checked first, because the schema's owner may lack the right to create one.
      const named = 'SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1';
      if ((await connection.query(named, [schema])).length === 0) {
        await connection.query(`CREATE SCHEMA IF NOT EXISTS ${tables.schema}`);
      }
      await connection.script(statements(tables));
      const made = await readFormat(connection, tables);
      return made ?? { format: schemaFormat, hasPermits: true };
    } catch (error) {
      const isRace = isMadeByAnother(error) || isConflict(error);
      if (!isRace || tries === maxTries) throw error;
    }
    await pause(Math.random() * 50);
  }
}

/** Reads the format; undefined if tables are missing. */
async function readFormat(
  connection: Connection,
  tables: Tables,
): Promise<FoundFormat | undefined> {
  const ticketLocks = `'${tables.ticketLocks.replaceAll("'", "''")}'::regclass`;
  try {
    // An earlier release has neither of the two tables, and leaves them alone.
    const [row] = await connection.query(
      `SELECT format, (SELECT count(*) FROM ${tables.history}) AS histories,
         (SELECT count(*) FROM ${tables.quarantine}) AS quarantines,
         EXISTS (
           SELECT 1 FROM pg_catalog.pg_attribute
           WHERE attrelid = ${ticketLocks} AND attname = 'permits'
         ) AS has_permits FROM ${tables.counter}`,
    );
    return row && { format: number(row, 'format'), hasPermits: flag(row, 'has_permits') };
  } catch (error) {
    if (isMissingTable(error)) return undefined;
    throw error;
  }
}

/**
 * Returns the statements in their order: the row of `counter` comes last and shows that all tables
 * exist. Each statement can be repeated, because no lock that all dialects know separates clients.
 * Writers lock that row, so revisions are a total order. Watchers read `changes`, one row per
 * revision, which is trimmed.
 */
function statements(tables: Tables): string[] {
  const make = (table: string, columns: string) =>
    `CREATE TABLE IF NOT EXISTS ${table} (${columns})`;
  return [
    make(
      tables.counter,
      'id INT8 PRIMARY KEY CHECK (id = 1), format INT8 NOT NULL, revision INT8 NOT NULL',
    ),
    make(
      tables.sessions,
      'id TEXT PRIMARY KEY, owner TEXT NOT NULL, ttl_ms INT8 NOT NULL, expires_at TIMESTAMPTZ NOT NULL, incarnation TEXT',
    ),
    make(
      tables.tickets,
      `token INT8 PRIMARY KEY, nonce TEXT NOT NULL UNIQUE, session TEXT NOT NULL REFERENCES ${tables.sessions} (id), ticket TEXT NOT NULL`,
    ),
    `CREATE INDEX IF NOT EXISTS tickets_of_session ON ${tables.tickets} (session)`,
    make(
      tables.ticketLocks,
      `name TEXT NOT NULL, token INT8 NOT NULL REFERENCES ${tables.tickets} (token) ON DELETE CASCADE, is_exclusive BOOL NOT NULL, permits INT8, PRIMARY KEY (name, token)`,
    ),
    `CREATE INDEX IF NOT EXISTS locks_of_ticket ON ${tables.ticketLocks} (token)`,
    make(tables.records, 'key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INT8 NOT NULL'),
    make(tables.gates, 'lock_name TEXT PRIMARY KEY, gate TEXT NOT NULL'),
    make(tables.changes, 'revision INT8 PRIMARY KEY, change TEXT NOT NULL'),
    make(
      tables.history,
      'id INT8 PRIMARY KEY CHECK (id = 1), history_id TEXT NOT NULL, record TEXT NOT NULL, xid TEXT NOT NULL',
    ),
    make(tables.quarantine, 'id INT8 PRIMARY KEY CHECK (id = 1), until TIMESTAMPTZ NOT NULL'),
    `INSERT INTO ${tables.counter} VALUES (1, ${schemaFormat}, 0) ON CONFLICT (id) DO NOTHING`,
  ];
}
