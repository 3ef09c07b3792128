/** In what the databases differ that speak PostgreSQL's protocol. The texts are SQL. */
export interface Dialect {
  /** For messages. */
  readonly product: string;
  /** What a step that writes runs in. Writers queue up behind one row whatever it is. */
  readonly isolation: 'READ COMMITTED' | 'SERIALIZABLE';
  /** What shows several statements one state. */
  readonly snapshot: 'REPEATABLE READ' | 'SERIALIZABLE';
  /** Whether it tells its clients of changes (LISTEN and NOTIFY). */
  readonly notifies: boolean;
  /** How soon a change is noticed that nobody told of. */
  readonly pollMs: number;
  /** When the session in this row ends unless it is renewed. */
  readonly expiry: string;
  /** Whether the server only follows another, so that what it shows may be old. */
  readonly isStandby: string;
  /** A statement at the start of each step that makes its commit wait for the disk, if need be. */
  readonly makeDurable: string;
}

export const dialects = {
  postgres: {
    product: 'PostgreSQL',
    isolation: 'READ COMMITTED',
    snapshot: 'REPEATABLE READ',
    notifies: true,
    pollMs: 1000,
    // While the server was down nobody could renew: its start counts as a renewal of all.
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
