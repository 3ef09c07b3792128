import type { LockRequest } from '../ticket.ts';

/** The names that a step reads and writes. Two steps of which neither writes what the other touches are independent. */
export interface Touches {
  readonly reads: readonly string[];
  readonly writes: readonly string[];
}

interface Touched {
  readonly session: string;
  readonly nonce: string;
  readonly locks: readonly LockRequest[];
}

/**
 * Returns what a step touches that adds or removes these tickets. A shared ticket neither changes nor depends on
 * where other shared ones stand.
 */
export function touchesOf(
  tickets: readonly Touched[],
  records: { readonly read?: readonly string[]; readonly written?: readonly string[] } = {},
): Touches {
  const locks = tickets.flatMap((ticket) => ticket.locks);
  const [shared, others] = [
    locks.filter(({ mode }) => mode === 'shared'),
    locks.filter(({ mode }) => mode !== 'shared'),
  ];
  return {
    reads: [
      ...tickets.map(({ session }) => `session ${session}`),
      ...shared.map(({ name }) => lockTouch(name)),
      ...(records.read ?? []).map((key) => `record ${key}`),
    ],
    writes: [
      ...tickets.map(({ nonce }) => `ticket ${nonce}`),
      ...others.map(({ name }) => lockTouch(name)),
      ...(records.written ?? []).map((key) => `record ${key}`),
    ],
  };
}

/** Returns the name by which a step touches a lock. */
export function lockTouch(name: string): string {
  return `lock ${name}`;
}
