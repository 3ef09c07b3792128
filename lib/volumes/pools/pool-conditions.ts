import type { Condition } from '../../lock/condition.ts';
import type { DriverPool } from '../drivers/driver-pool.ts';
import type { Disagreement, PoolVerdict } from './mark-rule.ts';
import type { PoolClaim } from './pool-claim.ts';

/** A pool that is not this cluster's, or can't be used, with all that a person needs to decide. */
export interface PoolTrouble {
  readonly driver: string;
  readonly pool: Pick<DriverPool, 'place' | 'markPath'>;
  readonly cluster: string;
  readonly verdict:
    | Exclude<PoolVerdict, { is: 'ours' }>
    | { readonly is: 'unreadable'; readonly why: string };
  readonly claim?: PoolClaim | undefined;
  readonly differs?: Disagreement | undefined;
}

/** The condition of a pool in which nothing is created, mounted, removed or copied. */
export function poolCondition(trouble: PoolTrouble): Condition {
  return { severity: 'error', message: poolProblem(trouble) };
}

/** Says what is wrong with a pool and what to do, in one sentence. */
export function poolProblem(trouble: PoolTrouble): string {
  const { driver, pool, verdict } = trouble;
  if (verdict.is === 'read-only') {
    const text = `the pool of driver ${driver} at ${pool.place} is read-only`;
    return `${text}: repair its file system, or mount it with write access`;
  }
  if (verdict.is === 'unreadable') {
    const text = `the pool of driver ${driver} at ${pool.place} can't be read`;
    return `${text} (${verdict.why}): repair its file system, or mount it`;
  }
  if (verdict.is === 'unmounted') {
    const text = `the pool of driver ${driver} at ${pool.place} is not mounted`;
    return `${text}: /etc/fstab lists ${verdict.mountpoint}; mount it with: mount ${verdict.mountpoint}`;
  }
  if (verdict.is === 'foreign') {
    const text = `the pool of driver ${driver} at ${pool.place} belongs to another cluster`;
    return (
      `${text} (${verdict.mark}; this one is ${trouble.cluster}): correct volume-dir, store or prefix; ` +
      `if the pool is this cluster's, because its store was lost: ${byHand(trouble)}`
    );
  }
  const text = `the pool of driver ${driver} at ${pool.place} has no mark of this cluster`;
  return (
    `${text}${whyNotMarked(trouble)}: mount the file system of the volumes there, or correct ` +
    `volume-dir; if it is the right place: ${byHand(trouble)}`
  );
}

function whyNotMarked({ claim, differs }: PoolTrouble): string {
  if (claim) return `, and host ${claim.host} marked the cluster's pool at ${claim.since}`;
  if (!differs) return '';
  const parts = [
    ...(differs.missing.length > 0 ? [`volumes that are not there: ${some(differs.missing)}`] : []),
    ...(differs.unknown.length > 0
      ? [`storage of which the store knows nothing: ${some(differs.unknown)}`]
      : []),
  ];
  return `, and its content is not what the store says (${parts.join('; ')})`;
}

const mostNames = 5;

function some(names: readonly string[]): string {
  const more = names.length - mostNames;
  return names.slice(0, mostNames).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function byHand({ pool, cluster }: PoolTrouble): string {
  return `mkdir -p ${pool.place} && echo ${cluster} > ${pool.markPath}`;
}
