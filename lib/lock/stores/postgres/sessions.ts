import { randomUUID } from 'node:crypto';
import { SessionGoneError } from '../../errors.ts';
import { isPermanent, permanentSessionOf } from '../../permanent-session.ts';
import type { OpenSession, SessionRequest } from '../ticket-store.ts';
import type { Database } from './database.ts';
import { flag, number, toTicket } from './rows.ts';
import { toColumn } from './text.ts';

/** The expiry of a permanent session: a time that the database can still calculate with. */
const neverText = '9999-01-01';

/**
 * Sessions that expire a TTL after their last renewal, by the database's clock. Who opens or resumes one writes an
 * **incarnation** into its row; a step of a client whose incarnation was replaced finds the session **taken**.
 */
export class Sessions {
  readonly #database: Database;
  /** The incarnations that this client has written, by session. */
  readonly #own = new Map<string, string>();

  constructor(database: Database) {
    this.#database = database;
  }

  async open({ resume, owner, ttlMs: askedMs }: SessionRequest): Promise<OpenSession> {
    if (askedMs === Number.POSITIVE_INFINITY) return this.#openPermanent(owner);
    const resumedMs = resume === undefined ? undefined : await this.#resume(resume);
    if (resume !== undefined && resumedMs !== undefined) {
      return { id: resume, ttlMs: resumedMs, resumed: true };
    }
    const [id, ttlMs, incarnation] = [randomUUID(), Math.ceil(askedMs), randomUUID()];
    await this.#database.run(
      `INSERT INTO ${this.#database.tables.sessions} (id, owner, ttl_ms, expires_at, incarnation)
       VALUES ($1, $2, $3::int8, clock_timestamp() + $3::int8 * INTERVAL '1 millisecond', $4)
       RETURNING ${this.#database.historyId} AS history`,
      [id, toColumn(owner), ttlMs, incarnation],
    );
    this.#own.set(id, incarnation);
    return { id, ttlMs, resumed: false };
  }

  async renew(id: string): Promise<{ readonly ttlMs: number }> {
    if (isPermanent(id)) return { ttlMs: Number.POSITIVE_INFINITY };
    const ttlMs = await this.#extend(id);
    if (ttlMs === undefined) throw new SessionGoneError(`session ${id} has ended`);
    return { ttlMs };
  }

  /** Ends a session. Resolves without any effect if it is taken. */
  close(id: string): Promise<void> {
    const { sessions, tickets } = this.#database.tables;
    const values = this.ownership(id);
    const isOurs = `NOT ${this.isTaken('$1', '$2')}`;
    return this.#database.write(
      [`SELECT ticket FROM ${tickets} WHERE session = $1 AND ${isOurs} ORDER BY token`, values],
      (rows, transaction) => {
        this.#database.deleteTickets(rows.map(toTicket), transaction);
        if (isPermanent(id)) return;
        transaction.send(`DELETE FROM ${sessions} WHERE id = $1 AND ${isOurs}`, values);
      },
    );
  }

  /** Returns the two values that `isTaken` compares: the session, and this client's incarnation, if it has one. */
  ownership(id: string): [id: string, incarnation: string | null] {
    return [toColumn(id), this.#own.get(id) ?? null];
  }

  /** Returns the SQL condition that another client has resumed a session of this one; see `ownership`. */
  isTaken(id: string, incarnation: string): string {
    const { sessions } = this.#database.tables;
    return `EXISTS (SELECT 1 FROM ${sessions} AS mine WHERE mine.id = ${id}
      AND ${incarnation}::text IS NOT NULL AND mine.incarnation IS DISTINCT FROM ${incarnation}::text)`;
  }

  /** True if renewals arrive. Holders renew every third of the TTL: below half, one is missing. */
  async isAlive(id: string): Promise<boolean> {
    if (isPermanent(id)) return false;
    const { tables, dialect } = this.#database;
    const row = await this.#database.read(
      `EXISTS (
         SELECT 1 FROM ${tables.sessions} WHERE id = $1 AND
           ${dialect.expiry} - clock_timestamp() >= ttl_ms * INTERVAL '1 millisecond' / 2
       ) AS is_alive`,
      [toColumn(id)],
    );
    return flag(row, 'is_alive');
  }

  async #openPermanent(owner: string): Promise<OpenSession> {
    const [id, ttlMs] = [permanentSessionOf(owner), Number.POSITIVE_INFINITY];
    const incarnation = randomUUID();
    await this.#database.write(['SELECT 1', []], (_, { send }) => {
      send(
        `INSERT INTO ${this.#database.tables.sessions} (id, owner, ttl_ms, expires_at, incarnation)
         VALUES ($1, $2, 0, '${neverText}', $3)
         ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation`,
        [id, toColumn(owner), incarnation],
      );
    });
    this.#own.set(id, incarnation);
    return { id, ttlMs, resumed: true };
  }

  /** Renews a session and makes it this client's, after all steps of its predecessor that were under way. */
  async #resume(id: string): Promise<number | undefined> {
    const { sessions } = this.#database.tables;
    const incarnation = randomUUID();
    const look = `SELECT ttl_ms FROM ${sessions} WHERE id = $1 AND NOT (${this.#database.isOver})`;
    const ttlMs = await this.#database.write([look, [toColumn(id)]], ([row], { send }) => {
      if (!row) return undefined;
      send(
        `UPDATE ${sessions} SET incarnation = $2,
         expires_at = clock_timestamp() + ttl_ms * INTERVAL '1 millisecond' WHERE id = $1`,
        [toColumn(id), incarnation],
      );
      return number(row, 'ttl_ms');
    });
    if (ttlMs !== undefined) this.#own.set(id, incarnation);
    return ttlMs;
  }

  /**
   * Renews a session outside the queue of writing steps, so that busy locks don't delay renewals.
   * Returns the TTL; undefined if the session has expired or is taken.
   */
  async #extend(id: string): Promise<number | undefined> {
    const [row] = await this.#database.run(
      `UPDATE ${this.#database.tables.sessions}
       SET expires_at = clock_timestamp() + ttl_ms * INTERVAL '1 millisecond'
       WHERE id = $1 AND NOT (${this.#database.isOver})
         AND ($2::text IS NULL OR incarnation = $2::text) RETURNING ttl_ms, ${this.#database.historyId} AS history`,
      this.ownership(id),
    );
    return row && number(row, 'ttl_ms');
  }
}
