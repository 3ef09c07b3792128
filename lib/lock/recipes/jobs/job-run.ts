import { describeTickets } from '../../errors.ts';
import { namePart } from '../../name-part.ts';
import type { Ticket } from '../../ticket.ts';

/**
 * Who runs, or wants to run, a job: one run of one instance of a component. Whoever comes with the
 * identity of a run is that run, or has replaced it.
 */
export interface JobIdentity {
  /** A program or a part of one, e.g. `snapshots`. */
  readonly component: string;
  /** One instance of it, e.g. a host. */
  readonly componentId: string;
  /** The work, e.g. `nightly`. */
  readonly job: string;
  /** One run of it, e.g. a process. */
  readonly jobId: string;
}

/** A job that is running, as its ticket tells. */
export interface JobRun {
  readonly ticket: Ticket;
  /** Undefined when the lock was taken by its name, and not as a job's. */
  readonly by?: {
    readonly componentId: string;
    readonly jobId: string;
    /**
     * When it ends at the latest, by the holder's clock; RFC 3339. A holder that is frozen then may
     * keep the lock for a TTL more.
     */
    readonly until: string;
  };
}

/** What stands in the ticket's holder; `jobRun` reads it back. Throws RangeError as namePart. */
export function jobDetail(
  { componentId, jobId }: Pick<JobIdentity, 'componentId' | 'jobId'>,
  maxDurationMs: number,
): string {
  const [instance, run] = [namePart(componentId), namePart(jobId)];
  return `componentId=${instance} jobId=${run} maxDurationMs=${maxDurationMs}`;
}

export function jobRun(ticket: Ticket): JobRun {
  const { since, detail = '' } = ticket.holder;
  const parts = /^componentId=(\S+) jobId=(\S+) maxDurationMs=(\d+)$/.exec(detail)?.slice(1);
  try {
    const [componentId, jobId, maxDurationMs] = (parts ?? []).map(decodeURIComponent);
    if (componentId === undefined || jobId === undefined) return { ticket };
    const until = new Date(Date.parse(since) + Number(maxDurationMs)).toISOString();
    return { ticket, by: { componentId, jobId, until } };
  } catch {
    return { ticket }; // Only somebody else writes escapes or times that can't be read.
  }
}

export function isRunOf({ by }: JobRun, { componentId, jobId }: JobIdentity): boolean {
  return by?.componentId === componentId && by.jobId === jobId;
}

/** `instance n1 (run 7f3a on host h1, since …, until … at the latest, token 7)` */
export function describeRun({ by, ticket }: JobRun): string {
  if (!by) return describeTickets([ticket]);
  const { holder, token } = ticket;
  return (
    `instance ${by.componentId} (run ${by.jobId} on host ${holder.host}, ` +
    `since ${holder.since}, until ${by.until} at the latest, token ${token})`
  );
}
