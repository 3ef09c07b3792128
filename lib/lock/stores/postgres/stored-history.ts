import { randomUUID } from 'node:crypto';
import type { HistoryRecord, RememberedHistory, Verdict } from '../history-record.ts';
import { historySchema, judgeHistory, pastOf } from '../history-record.ts';
import type { FoundHistory, HistorySource, NewHistory } from '../history-source.ts';
import { defaultTtlMs } from '../history-source.ts';
import type { Connection, Row } from './connections.ts';
import type { Database } from './database.ts';
import { isForbidden } from './postgres-errors.ts';
import { flag, number, text } from './rows.ts';
import type { PostgresSigns } from './signs.ts';

/** More than a fail-over or a restore of an older state can have taken. */
const revisionsPerHistory = 1_000_000;

/** The history, as one look at the database tells it. */
export interface FoundPostgresHistory extends FoundHistory {
  /** The record as it is stored. */
  readonly stored: string | undefined;
  /** The system identifier and the timeline, or an empty text if this user may not ask. */
  readonly cluster: string;
  /** The row of the record was not written by the transaction that its record names: it was copied. */
  readonly isCopied: boolean;
}

interface Begun {
  readonly quarantineMs: number;
  /** The highest revision that this host has seen. */
  readonly above: number;
}

/**
 * The record of the history in the table `history`, and the quarantine in a table of its own, whose row a person may delete.
 *
 * | what was done                                 | what shows it, also to a host that has just come        |
 * |-----------------------------------------------|---------------------------------------------------------|
 * | a standby was promoted; a restore up to a time | the timeline, which each promotion raises               |
 * | another cluster of servers                    | the system identifier                                   |
 * | a dump was restored                           | the row's transaction is not the one that its record names |
 * | the data directory was put back from a copy   | only the revision, to a host that has seen a higher one |
 *
 * A promotion counts as another history whether or not it has lost commits: nobody can tell.
 */
export class StoredPostgresHistory implements HistorySource<FoundPostgresHistory> {
  readonly #database: Database;
  #mayIdentify = true;

  constructor(database: Database) {
    this.#database = database;
  }

  get name(): string {
    return this.#database.dialect.product;
  }

  get signs(): PostgresSigns {
    return this.#database.signs;
  }

  read(): Promise<FoundPostgresHistory> {
    return this.#database.look(async (connection) => {
      const cluster = await this.#identity(connection);
      const { dialect, tables } = this.#database;
      const [row] = await connection.query(
        `SELECT ${dialect.isStandby} AS is_standby, revision, record,
           EXISTS (SELECT 1 FROM ${tables.quarantine} WHERE until > clock_timestamp()) AS is_quarantined,
           COALESCE(xid <> ${dialect.rowTransaction('history')}, FALSE) AS is_copied
         FROM ${tables.counter} AS counter LEFT JOIN ${tables.history} AS history ON TRUE`,
      );
      if (row === undefined || flag(row, 'is_standby')) throw this.#database.standbyError();
      return foundIn(row, cluster);
    });
  }

  judge(found: FoundPostgresHistory, known: RememberedHistory | undefined, floor: number): Verdict {
    const why = found.record && this.#whyOther(found.record, found);
    return judgeHistory(found.record, known, { revision: found.revision, floor, why }, this.name);
  }

  async write(
    found: FoundPostgresHistory,
    { why, host, known, ttlMs: ownTtlMs }: NewHistory,
  ): Promise<HistoryRecord | undefined> {
    const ttlMs = Math.max(ownTtlMs, found.record?.ttlMs ?? 0, known?.ttlMs ?? 0);
    const record: HistoryRecord = {
      id: randomUUID(),
      since: new Date().toISOString(),
      ...(why !== undefined && { why, by: host }),
      cluster: found.cluster,
      past: pastOf(found.record, known),
      ttlMs,
    };
    const begun = why === undefined ? undefined : { quarantineMs: ttlMs || defaultTtlMs };
    const above = Math.max(this.signs.revision, known?.revision ?? 0);
    return (await this.#replace(found, record, begun && { ...begun, above })) ? record : undefined;
  }

  raiseTtl(found: FoundPostgresHistory, raised: HistoryRecord): Promise<boolean> {
    return this.#replace(found, raised, undefined);
  }

  #whyOther({ cluster }: HistoryRecord, found: FoundPostgresHistory): string | undefined {
    if (found.isCopied) return `${this.name} was restored from a dump`;
    if (cluster === found.cluster || cluster === '' || found.cluster === '') return undefined;
    const [system, timeline] = cluster.split('/');
    const [foundSystem, foundTimeline] = found.cluster.split('/');
    return system === foundSystem
      ? `${this.name} was restored, or a standby of it was promoted (its timeline was ${timeline} and is ${foundTimeline})`
      : `other servers of ${this.name} answer (their system identifier was ${system} and is ${foundSystem})`;
  }

  /** Empty if this user may not ask. */
  async #identity(connection: Connection): Promise<string> {
    if (!this.#mayIdentify) return '';
    try {
      const [row] = await connection.query(`SELECT ${this.#database.dialect.identity} AS identity`);
      return text(row, 'identity');
    } catch (error) {
      if (!isForbidden(error)) throw error;
      this.#mayIdentify = false;
      return '';
    }
  }

  /**
   * Writes the record behind the row of the counter, as each writing step does: no grant of the history
   * before commits after the new one.
   */
  #replace(
    found: FoundPostgresHistory,
    record: HistoryRecord,
    begun: Begun | undefined,
  ): Promise<boolean> {
    const { tables, dialect } = this.#database;
    return this.#database.look(async (connection) => {
      await connection.script([
        `BEGIN ISOLATION LEVEL ${dialect.isolation}`,
        dialect.makeDurable,
        `SELECT revision FROM ${tables.counter} WHERE id = 1 FOR UPDATE`,
      ]);
      const written = await connection.query(
        found.stored === undefined
          ? `INSERT INTO ${tables.history} (id, history_id, record, xid)
             SELECT 1, $1, $2, ${dialect.ownTransaction} WHERE $3 = ''
             ON CONFLICT (id) DO NOTHING RETURNING id`
          : `UPDATE ${tables.history} SET history_id = $1, record = $2, xid = ${dialect.ownTransaction}
             WHERE record = $3 RETURNING id`,
        [record.id, JSON.stringify(record), found.stored ?? ''],
      );
      if (begun && written.length > 0) await this.#quarantine(connection, begun);
      await connection.script(['COMMIT']);
      return written.length > 0;
    });
  }

  /** Begins the quarantine. Revisions, and so tokens, go on above those that this host has seen. */
  async #quarantine(connection: Connection, { quarantineMs, above }: Begun): Promise<void> {
    const { tables } = this.#database;
    await connection.query(
      `INSERT INTO ${tables.quarantine} AS quarantine (id, until)
       VALUES (1, clock_timestamp() + $1::int8 * INTERVAL '1 millisecond')
       ON CONFLICT (id) DO UPDATE SET until = GREATEST(quarantine.until, excluded.until)`,
      [quarantineMs],
    );
    await connection.query(
      `UPDATE ${tables.counter} SET revision = GREATEST(revision, $1::int8) + $2::int8 WHERE id = 1`,
      [above, revisionsPerHistory],
    );
  }
}

function foundIn(row: Row, cluster: string): FoundPostgresHistory {
  const stored = row.record === null ? undefined : text(row, 'record');
  return {
    stored,
    record: stored === undefined ? undefined : historySchema.parse(JSON.parse(stored)),
    isQuarantined: flag(row, 'is_quarantined'),
    isCopied: flag(row, 'is_copied'),
    revision: number(row, 'revision'),
    cluster,
  };
}
