import { requireSamePermits } from '../../conflicts.ts';
import type { LockRequest, TicketRequest } from '../../ticket.ts';
import type { Row } from './connections.ts';
import { parseTicket, texts } from './rows.ts';
import type { Tables } from './schema.ts';
import { toColumn } from './text.ts';

/*
 * The parts of a statement that find what blocks a request. The names and kinds of its locks are the
 * parameters 3 and 4.
 */

/** The kinds of locks in a parameter; the kind of a permit is the number of permits. */
export const kinds = { exclusive: -1, shared: 0 } as const;

/** The locks of the request. */
export const wanted = 'unnest($3::text[], $4::int8[]) AS wanted (name, kind)';

/** Returns the locks as two columns: names and kinds. */
export function columnsOf(locks: readonly LockRequest[]): [names: string[], kinds: number[]] {
  return [
    locks.map(({ name }) => toColumn(name)),
    locks.map((lock) => (lock.mode === 'permit' ? lock.permits : kinds[lock.mode])),
  ];
}

function hasPermits({ locks }: Pick<TicketRequest, 'locks'>): boolean {
  return locks.some(({ mode }) => mode === 'permit');
}

/** Returns the nearest tickets in the way. */
export function findBlockers(
  tables: Tables,
  below: string,
  request: Pick<TicketRequest, 'locks'>,
): string {
  const { tickets, ticketLocks } = tables;
  // A permit counts as exclusive for all but permits.
  const conflicts = hasPermits(request)
    ? `CASE WHEN wanted.kind > 0 THEN other.permits IS NULL
        ELSE other.is_exclusive OR wanted.kind = ${kinds.exclusive} END`
    : `(other.is_exclusive OR wanted.kind = ${kinds.exclusive})`;
  return `ARRAY(
    SELECT ticket FROM ${tickets} WHERE token IN (
      SELECT (
        SELECT max(token) FROM ${ticketLocks} AS other
        WHERE other.name = wanted.name AND other.token < ${below}::int8 AND ${conflicts}
      ) FROM ${wanted}
    ) ${hasPermits(request) ? `OR token IN (${permits(tables, below)})` : ''} ORDER BY token
  )`;
}

/** Returns the nearest permits of each lock that has none left. */
function permits(tables: Tables, below: string): string {
  return `SELECT lower.token FROM ${wanted}, LATERAL (
      SELECT other.token, row_number() OVER (ORDER BY other.token DESC) AS nth, count(*) OVER () AS total
      FROM ${tables.ticketLocks} AS other
      WHERE other.name = wanted.name AND other.token < ${below}::int8 AND other.permits IS NOT NULL
    ) AS lower WHERE wanted.kind > 0 AND lower.nth <= wanted.kind AND lower.total >= wanted.kind`;
}

/** Returns the first ticket with another number of permits. */
export function findOtherPermits(tables: Tables, request: TicketRequest): string {
  if (!hasPermits(request)) return '';
  const from = `FROM ${wanted}, ${tables.ticketLocks} AS other
    WHERE wanted.kind > 0 AND other.name = wanted.name AND other.permits <> wanted.kind
    ORDER BY other.token LIMIT 1`;
  return `, ARRAY(SELECT ticket FROM ${tables.tickets} WHERE token = (SELECT other.token ${from})) AS other_permits`;
}

/** Throws PermitsDifferError if a ticket says another number of permits than the request. */
export function requirePermits(request: TicketRequest, row: Row | undefined): void {
  if (!hasPermits(request)) return;
  requireSamePermits(request.locks, texts(row, 'other_permits').map(parseTicket));
}
