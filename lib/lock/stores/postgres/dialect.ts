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
  },
} as const satisfies Record<string, Dialect>;

export type DialectName = keyof typeof dialects;
