import { z } from 'zod';
import { InvalidRequestError } from './errors.ts';

/**
 * The nouns of the volume layer.
 *
 * A **volume** is a named piece of storage; its **record** (this file) says what it is and is kept
 * in the store. A **driver** is a storage technology. A volume is **mounted** on a host while at
 * least one of its containers there uses it.
 */

/** Who may mount a volume at one time (`-o access=`). */
export const accessModes = ['host', 'container', 'shared'] as const;

/**
 * - `host`: one host, any number of its containers (the default).
 * - `container`: one container in the whole cluster.
 * - `shared`: any number of hosts. Still blocks Remove.
 */
export type Access = (typeof accessModes)[number];

/** What frees the volume of a host that has died (`-o failover=`). */
export const failoverModes = ['auto', 'manual'] as const;

/**
 * - `auto`: time. Its lock is leased, and another host may mount the volume after the TTL (the
 *   default).
 * - `manual`: an operator, with `berth lock clear`. Its lock has no lease.
 */
export type Failover = (typeof failoverModes)[number];

/** What happens to containers when their host can't prove its lock any more (`-o on-lost=`). */
export const lossActions = ['pause', 'stop', 'keep'] as const;

/**
 * - `pause`: they are paused before anybody else may get the lock; they go on when it turns out
 *   to be ours still, and are killed when it is gone (the default).
 * - `stop`: they are stopped before anybody else may get the lock.
 * - `keep`: nothing. Two hosts may write at once; the only action for `access=shared`.
 */
export type LossAction = (typeof lossActions)[number];

/** How a volume's mount lock is taken, and what its end means. */
export const lockRulesSchema = z.object({
  access: z.enum(accessModes),
  failover: z.enum(failoverModes).default('auto'),
  onLost: z.enum(lossActions).default('pause'),
});

export type LockRules = z.infer<typeof lockRulesSchema>;

const snapshotSchema = z.object({
  name: z.string(),
  /** RFC 3339. */
  createdAt: z.string(),
});

export const recordSchema = z.object({
  /** The format of this record; raised when an older berth could misread it. */
  version: z.literal(1),
  name: z.string(),
  driver: z.string(),
  /** The driver's own options, normalised by the driver (`size` in bytes, for example). */
  options: z.record(z.string(), z.string()),
  ...lockRulesSchema.shape,
  createdAt: z.string(),
  /** The host that created it. */
  createdBy: z.string(),
  /** What it was made from: `VOLUME` or `VOLUME@SNAPSHOT`. */
  from: z.string().optional(),
  /** Oldest first. */
  snapshots: z.array(snapshotSchema),
  /** The fencing token of the last writer; makes each written value unique. */
  token: z.number(),
});

export type Snapshot = z.infer<typeof snapshotSchema>;
export type VolumeRecord = z.infer<typeof recordSchema>;

/** Reads a record as stored; throws on anything that is not one. */
export function parseRecord(text: string): VolumeRecord {
  return recordSchema.parse(JSON.parse(text));
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const nameRule = '1 to 128 of A-Z a-z 0-9 _ . -, starting with a letter or a digit';

/** Refuses a name that is not allowed (the engine checks nothing: `../x` reaches the plugin). */
export function checkVolumeName(name: string): void {
  checkName('volume', name);
}

/** Snapshot names follow the same rule as volume names. */
export function checkSnapshotName(name: string): void {
  checkName('snapshot', name);
}

function checkName(what: string, name: string): void {
  if (!namePattern.test(name)) {
    const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
    throw new InvalidRequestError(
      `${JSON.stringify(shown)} is not a valid ${what} name: use ${nameRule}`,
    );
  }
}

/** `db` or `db@monday`. */
export interface VolumeSource {
  readonly volume: string;
  readonly snapshot?: string;
}

/** Reads `VOLUME` or `VOLUME@SNAPSHOT`; refuses bad names. */
export function parseSource(text: string): VolumeSource {
  const at = text.indexOf('@');
  const volume = at < 0 ? text : text.slice(0, at);
  checkVolumeName(volume);
  if (at < 0) return { volume };
  const snapshot = text.slice(at + 1);
  checkSnapshotName(snapshot);
  return { volume, snapshot };
}

/** The reverse of `parseSource`. */
export function formatSource({ volume, snapshot }: VolumeSource): string {
  return snapshot === undefined ? volume : `${volume}@${snapshot}`;
}
