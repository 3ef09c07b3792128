import type { Condition } from '../../lock/condition.ts';
import type { DriverPool, PoolSpace } from '../drivers/driver-pool.ts';
import { someNames } from '../some-names.ts';
import type { Disagreement, PoolVerdict } from './mark-rule.ts';
import type { PoolRecord } from './pool-record.ts';

/** A pool that is not this cluster's, or can't be used, with all that a person needs to decide. */
export interface PoolTrouble {
  readonly driver: string;
  readonly pool: Pick<DriverPool, 'place' | 'markPath'>;
  readonly cluster: string;
  readonly verdict:
    | Exclude<PoolVerdict, { is: 'ours' }>
    | { readonly is: 'unreadable'; readonly why: string };
  readonly record?: PoolRecord | undefined;
  readonly differs?: Disagreement | undefined;
}

/** The condition of a pool in which nothing is created, mounted, removed or copied. */
export function poolCondition(trouble: PoolTrouble): Condition {
  return { severity: 'error', message: poolProblem(trouble) };
}

/** Says what is wrong with a pool and what to do, in one sentence. */
export function poolProblem(trouble: PoolTrouble): string {
  return `${poolFault(trouble)}: ${poolAdvice(trouble).join('; ')}`;
}

/** Says what is wrong with a pool. */
export function poolFault(trouble: PoolTrouble): string {
  const { driver, verdict } = trouble;
  const { place } = trouble.pool;
  // Each sentence stands whole: it is what a person searches for, here and in the catalogue.
  switch (verdict.is) {
    case 'read-only':
      return `the pool of driver ${driver} at ${place} is read-only`;
    case 'unreadable':
      return `the pool of driver ${driver} at ${place} can't be read (${verdict.why})`;
    case 'unmounted':
      return `the pool of driver ${driver} at ${place} is not mounted, and /etc/fstab lists ${verdict.mountpoint}`;
    case 'foreign':
      return `the pool of driver ${driver} at ${place} belongs to another cluster (${verdict.mark}; this one is ${trouble.cluster})`;
    default:
      return `the pool of driver ${driver} at ${place} has no mark of this cluster${whyNotMarked(trouble)}`;
  }
}

/** Lists what a person can do about it. */
export function poolAdvice(trouble: PoolTrouble): string[] {
  const { verdict } = trouble;
  if (verdict.is === 'read-only') return ['repair its file system, or mount it with write access'];
  if (verdict.is === 'unreadable') return ['repair its file system, or mount it'];
  if (verdict.is === 'unmounted') return [`mount it: mount ${verdict.mountpoint}`];
  const byHand = `mkdir -p ${trouble.pool.place} && echo ${trouble.cluster} > ${trouble.pool.markPath}`;
  if (verdict.is === 'foreign') {
    return [
      'correct volume-dir, store or prefix',
      `if the pool is this cluster's, because its store was lost: ${byHand}`,
    ];
  }
  return [
    'mount the file system of the volumes there, or correct volume-dir',
    `if it is the right place: ${byHand}`,
  ];
}

/** The part of a pool that may be used without a warning, and the free space that always suffices. */
const calmPart = 0.95;
const roomyBytes = 5 * 2 ** 30;

/** Says that a pool will soon be full; undefined: it has room. */
export function fillingPool(
  driver: string,
  { place }: Pick<DriverPool, 'place'>,
  { freeBytes, totalBytes, freeFiles }: PoolSpace,
): Condition | undefined {
  const isShort = freeBytes < Math.min(roomyBytes, totalBytes * (1 - calmPart));
  if (!isShort && freeFiles >= 1 - calmPart) return undefined;
  const left = isShort
    ? `${Math.floor(freeBytes / 2 ** 20)} of ${Math.floor(totalBytes / 2 ** 20)} MiB are free`
    : `${Math.floor(freeFiles * 100)} % of its inodes are free`;
  const text = `the pool of driver ${driver} at ${place} is nearly full`;
  const message =
    `${text} (${left}): remove volumes, snapshots or files, or enlarge it; in a full pool, writes to ` +
    'volumes fail, and data that are not synced are lost';
  return { severity: 'warning', message };
}

/**
 * Says that a pool is probably the empty mount point of a share, or was never shared; undefined: no other host uses
 * the store, or the pool has a file system of its own.
 */
export function poolOnRoot(
  driver: string,
  { place }: Pick<DriverPool, 'place'>,
  { isOnRoot }: Pick<PoolSpace, 'isOnRoot'>,
  otherHosts: readonly string[],
): Condition | undefined {
  if (!isOnRoot || otherHosts.length === 0) return undefined;
  const text = `the pool of driver ${driver} at ${place} is on this host's root disk`;
  const message =
    `${text}, and the store is also used by ${someNames(otherHosts)}: unless all hosts share that disk, the other ` +
    'hosts do not see these volumes. Mount the shared file system there, move the volumes and the file ' +
    '.berth-pool to it, or correct volume-dir';
  return { severity: 'warning', message };
}

/** A mounted volume whose file system has stopped writing. */
export function stoppedVolume(volume: string): Condition {
  const text = `the file system of volume ${volume} has stopped writing after an error of its storage`;
  return {
    severity: 'error',
    message:
      `${text}: the pool was full, or its disk failed. Make room or repair it, then stop the ` +
      'containers that use the volume, and start them again',
  };
}

function whyNotMarked({ record, differs }: PoolTrouble): string {
  if (record) return `, and host ${record.host} marked the cluster's pool at ${record.since}`;
  if (!differs) return '';
  const parts = [
    ...(differs.missing.length > 0
      ? [`volumes that are not there: ${someNames(differs.missing)}`]
      : []),
    ...(differs.unknown.length > 0
      ? [`storage of which the store knows nothing: ${someNames(differs.unknown)}`]
      : []),
  ];
  return `, and its content is not what the store says (${parts.join('; ')})`;
}
