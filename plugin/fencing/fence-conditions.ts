import type { Condition } from '../../lib/lock/condition.ts';
import type { SentinelReport } from '../../sentinel/watch.ts';
import type { UnknownVolume } from './unknown-volumes.ts';

/** How the locks of this host end. */
export interface FenceTimes {
  /** Infinity if locks don't expire. */
  readonly ttlMs: number;
  /** Milliseconds from a deadline to the earliest end of the TTL. */
  readonly marginMs: number;
}

/** Measured: when an etcd leader stands still for 6 s, locks with a lower TTL expire or nearly do. */
const leastCalmTtlMs = 10_000;

/** Says why the sentinel has too little time to fence this host; undefined: it has enough. */
export function lackOfTime(
  { leadMs = 0 }: Pick<SentinelReport, 'leadMs'>,
  { ttlMs, marginMs }: FenceTimes,
): string | undefined {
  // The daemon renews its lease after a third of the TTL: less is left just before a renewal.
  const leftMs = ttlMs - marginMs - ttlMs / 3;
  if (leadMs <= leftMs) return undefined;
  const text =
    `the sentinel needs ${seconds(leadMs)} s to stop this host's containers, and a TTL of ` +
    `${seconds(ttlMs)} s leaves it ${seconds(leftMs)} s: use a longer ttl or fewer volumes per host`;
  return text;
}

/** A volume that the sentinel can't stop all writers of. */
export function incompleteFence(volume: string, why: string): Condition {
  return warning(`the sentinel can't stop everything that uses volume ${volume}: ${why}`);
}

/** A volume that a sentinel guards for an earlier daemon. */
export function unknownVolume({ volume, mountpoint, isMounted }: UnknownVolume): Condition {
  const text = `the sentinel guards volume ${volume}, which this daemon does not know`;
  return warning(
    isMounted
      ? `${text} although it is mounted at ${mountpoint}: its mount table was lost or replaced. The ` +
          'containers that use the volume stand still when its lock expires. Remove them, then: umount ' +
          mountpoint
      : `${text} and which is not mounted at ${mountpoint} any more, because containers that use it ` +
          'stand still: remove them (docker rm -f)',
  );
}

/** Lists what a short TTL costs. `store` is the kind of the store. */
export function shortTtl(store: string, ttlMs: number): Condition[] {
  if (store !== 'etcd' || ttlMs >= leastCalmTtlMs) return [];
  const text =
    `the ttl of ${seconds(ttlMs)} s is short for etcd: when its leader stands still for some seconds, ` +
    "this host's locks expire, or its containers are paused, before another leader is elected; use " +
    `${seconds(leastCalmTtlMs)} s or more`;
  return [warning(text)];
}

function warning(message: string): Condition {
  return { severity: 'warning', message };
}

/** Returns the seconds with at most one decimal. */
function seconds(ms: number): string {
  return String(Math.round(ms / 100) / 10);
}
