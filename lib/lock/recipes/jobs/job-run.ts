import { describeTickets } from '../../errors.ts';
import { namePart } from '../../name-part.ts';
import type { Ticket } from '../../ticket.ts';

/**
 * The identity of a run: one run of a job by one instance of a component. A request with the
 * identity of a run comes from that run, or from its replacement.
 */
export interface JobIdentity {
  /** A program or a part of a program, e.g. `snapshots`. */
  readonly component: string;
  /** One instance of the component, e.g. a host. */
  readonly componentId: string;
  /** The work, e.g. `nightly`. */
  readonly job: string;
  /** One run of the job, e.g. a process. */
  readonly jobId: string;
}

/** A running job, as its ticket describes it. */
export interface JobRun {
  readonly ticket: Ticket;
  /** Undefined if the lock was taken by its name, not through `JobLock`. */
  readonly by?: {
    readonly componentId: string;
    readonly jobId: string;
    /**
     * The latest end of the run by the holder's clock, RFC 3339. A holder that is frozen then may
     * keep the lock for one more TTL.
     */
    readonly until: string;
  };
}

/** Formats the detail of a ticket's holder; `jobRun` parses it. Throws RangeError as `namePart`. */
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
    return { ticket }; // Only other programs write malformed escapes or times.
  }
}

export function isRunOf({ by }: JobRun, { componentId, jobId }: JobIdentity): boolean {
  return by?.componentId === componentId && by.jobId === jobId;
}

/** Returns `instance n1 (run 7f3a on host h1, since …, until … at the latest, token 7)`. */
export function describeRun({ by, ticket }: JobRun): string {
  if (!by) return describeTickets([ticket]);
  const { holder, token } = ticket;
  return (
    `instance ${by.componentId} (run ${by.jobId} on host ${holder.host}, ` +
    `since ${holder.since}, until ${by.until} at the latest, token ${token})`
  );
}
