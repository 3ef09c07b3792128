import { randomUUID } from 'node:crypto';
import { SessionGoneError } from '../../errors.ts';
import { isPermanent, permanentSessionOf } from '../../permanent-session.ts';
import type { OpenSession, SessionRequest } from '../ticket-store.ts';
import type { Database } from './database.ts';
import { flag, number, toTicket } from './rows.ts';
import { toColumn } from './text.ts';

/** The expiry of a permanent session: a time that the database can still calculate with. */
const neverText = '9999-01-01';

/** Sessions that expire a TTL after their last renewal, by the database's clock. */
export class Sessions {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async open({ resume, owner, ttlMs: askedMs }: SessionRequest): Promise<OpenSession> {
    if (askedMs === Number.POSITIVE_INFINITY) return this.#openPermanent(owner);
    const resumedMs = resume === undefined ? undefined : await this.#extend(resume);
    if (resume !== undefined && resumedMs !== undefined) {
      return { id: resume, ttlMs: resumedMs, resumed: true };
    }
    const [id, ttlMs] = [randomUUID(), Math.ceil(askedMs)];
    await this.#database.run(
      `INSERT INTO ${this.#database.tables.sessions} (id, owner, ttl_ms, expires_at)
       VALUES ($1, $2, $3::int8, clock_timestamp() + $3::int8 * INTERVAL '1 millisecond')`,
      [id, toColumn(owner), ttlMs],
    );
    return { id, ttlMs, resumed: false };
  }

  async renew(id: string): Promise<{ readonly ttlMs: number }> {
    if (isPermanent(id)) return { ttlMs: Number.POSITIVE_INFINITY };
    const ttlMs = await this.#extend(id);
    if (ttlMs === undefined) throw new SessionGoneError(`session ${id} has ended`);
    return { ttlMs };
  }

  close(id: string): Promise<void> {
    const { sessions, tickets } = this.#database.tables;
    const values = [toColumn(id)];
    return this.#database.write(
      [`SELECT ticket FROM ${tickets} WHERE session = $1 ORDER BY token`, values],
      (rows, transaction) => {
        this.#database.deleteTickets(rows.map(toTicket), transaction);
        if (!isPermanent(id)) transaction.send(`DELETE FROM ${sessions} WHERE id = $1`, values);
      },
    );
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
    await this.#database.run(
      `INSERT INTO ${this.#database.tables.sessions} (id, owner, ttl_ms, expires_at)
       VALUES ($1, $2, 0, '${neverText}') ON CONFLICT (id) DO NOTHING`,
      [id, toColumn(owner)],
    );
    return { id, ttlMs, resumed: true };
  }

  /**
   * Renews a session outside the queue of writing steps, so that busy locks don't delay renewals.
   * Returns the TTL; undefined if the session has expired.
   */
  async #extend(id: string): Promise<number | undefined> {
    const [row] = await this.#database.run(
      `UPDATE ${this.#database.tables.sessions}
       SET expires_at = clock_timestamp() + ttl_ms * INTERVAL '1 millisecond'
       WHERE id = $1 AND NOT (${this.#database.isOver}) RETURNING ttl_ms`,
      [toColumn(id)],
    );
    return row && number(row, 'ttl_ms');
  }
}
