/** The differences between databases with PostgreSQL's protocol. The texts are SQL. */
export interface Dialect {
  /** The database's name, for messages. */
  readonly product: string;
  /** The isolation of a writing step. Writers queue behind one row in any case. */
  readonly isolation: 'READ COMMITTED' | 'SERIALIZABLE';
  /** The isolation that shows several statements one state. */
  readonly snapshot: 'REPEATABLE READ' | 'SERIALIZABLE';
  /** True if the database notifies clients of changes (LISTEN and NOTIFY). */
  readonly notifies: boolean;
  /** The interval of polls for changes without notification. */
  readonly pollMs: number;
  /** The time at which the session in this row ends unless it is renewed. */
  readonly expiry: string;
  /** True on a standby, whose data may be old. */
  readonly isStandby: string;
  /** The statement that makes a step's commit wait for the disk, if it would not. */
  readonly makeDurable: string;
  /** The identity of the servers: the system identifier and the timeline; empty if there is none. */
  readonly identity: string;
  /** The number of the running transaction, as `rowTransaction` shows it in the rows that it writes. */
  readonly ownTransaction: string;
  /** The number of the transaction that wrote a row. */
  readonly rowTransaction: (table: string) => string;
}

export const dialects = {
  postgres: {
    product: 'PostgreSQL',
    isolation: 'READ COMMITTED',
    snapshot: 'REPEATABLE READ',
    notifies: true,
    pollMs: 1000,
    // Nobody could renew while the server was down: its start renews every session.
    expiry: "GREATEST(expires_at, pg_postmaster_start_time() + ttl_ms * INTERVAL '1 millisecond')",
    isStandby: 'pg_is_in_recovery()',
    makeDurable:
      "SELECT set_config('synchronous_commit', 'on', true) " +
      "WHERE current_setting('synchronous_commit') IN ('off', 'local')",
    // Any role may ask. The control file has the timeline of the last checkpoint, which may be older.
    identity:
      '(SELECT system_identifier FROM pg_control_system()) || ' +
      "CASE WHEN pg_is_in_recovery() THEN '/?' " +
      "ELSE '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END",
    // A restored dump writes the row by another transaction. The row has the lower 32 bits.
    ownTransaction: '(pg_current_xact_id()::text::numeric % 4294967296)::text',
    rowTransaction: (table: string) => `${table}.xmin::text`,
  },
  cockroach: {
    product: 'CockroachDB',
    isolation: 'SERIALIZABLE',
    snapshot: 'SERIALIZABLE',
    notifies: false,
    pollMs: 100,
    expiry: 'expires_at',
    isStandby: 'FALSE',
    makeDurable: 'SELECT 1',
    identity: "''",
    ownTransaction: "''",
    rowTransaction: () => "''",
  },
} as const satisfies Record<string, Dialect>;

export type DialectName = keyof typeof dialects;
