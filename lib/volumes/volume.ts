import { z } from 'zod';
import { InvalidRequestError } from './errors.ts';

/**
 * The nouns of the volume layer.
 *
 * A **volume** is a named piece of storage; its **record** (this file) says what it is and is kept
 * in the store. A **driver** is a storage technology. A volume is **mounted** on a host while at
 * least one of its containers there uses it.
 */

/** The modes of access: who may mount a volume at one time (`-o access=`). */
export const accessModes = ['host', 'container', 'shared'] as const;

/**
 * - `host`: one host, any number of its containers (the default).
 * - `container`: one container in the whole cluster.
 * - `shared`: any number of hosts. Still blocks Remove.
 */
export type Access = (typeof accessModes)[number];

/** The modes of failover: how the lock of a dead host is released (`-o failover=`). */
export const failoverModes = ['auto', 'manual'] as const;

/**
 * - `auto`: the lock expires with its lease, and another host may mount the volume after the TTL
 *   (the default).
 * - `manual`: an operator clears it with `berth lock clear`. The lock has no lease.
 */
export type Failover = (typeof failoverModes)[number];

/** The actions on containers whose host can't prove its lock any more (`-o on-lost=`). */
export const lossActions = ['pause', 'stop', 'keep'] as const;

/**
 * - `pause`: the sentinel pauses them before another host can acquire the lock, resumes them when
 *   the lock is proved to be ours still, and kills them when it is lost (the default).
 * - `stop`: the sentinel stops them before another host can acquire the lock.
 * - `keep`: the containers go on. Two hosts may write at once; the only action for `access=shared`.
 */
export type LossAction = (typeof lossActions)[number];

/** Where a former host's writes are stopped (`-o fencing=`). */
export const fencingModes = ['storage', 'host'] as const;

/**
 * - `storage`: at the storage, whatever that host does (a takeover, or the fence command). Refused
 *   where nothing can do that.
 * - `host`: on that host, as long as its kernel runs and its clock counts.
 */
export type FencingMode = (typeof fencingModes)[number];

/** The rules of a volume's mount lock: how it is acquired, and what follows its loss. */
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
  /** Absent: `storage` where the pool can, else `host`. */
  fencing: z.enum(fencingModes).optional(),
  createdAt: z.string(),
  /** The host that created it. */
  createdBy: z.string(),
  /** The source of a copy: `VOLUME` or `VOLUME@SNAPSHOT`. */
  from: z.string().optional(),
  /** Oldest first. */
  snapshots: z.array(snapshotSchema),
  /** The fencing token of the last writer; makes each written value unique. */
  token: z.number(),
});

export type Snapshot = z.infer<typeof snapshotSchema>;
export type VolumeRecord = z.infer<typeof recordSchema>;

/** Reads a record as stored; throws on any other text. */
export function parseRecord(text: string): VolumeRecord {
  return recordSchema.parse(JSON.parse(text));
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const nameRule = '1 to 128 of A-Z a-z 0-9 _ . -, starting with a letter or a digit';

/** Throws on a name that is not allowed (the engine checks none: `../x` reaches the plugin). */
export function checkVolumeName(name: string): void {
  checkName('volume', name);
}

/** Throws on a name that is not allowed; the rule is the same as for volumes. */
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

/** Reads `VOLUME` or `VOLUME@SNAPSHOT`; throws on bad names. */
export function parseSource(text: string): VolumeSource {
  const at = text.indexOf('@');
  const volume = at < 0 ? text : text.slice(0, at);
  checkVolumeName(volume);
  if (at < 0) return { volume };
  const snapshot = text.slice(at + 1);
  checkSnapshotName(snapshot);
  return { volume, snapshot };
}

/** Formats a source for `parseSource`. */
export function formatSource({ volume, snapshot }: VolumeSource): string {
  return snapshot === undefined ? volume : `${volume}@${snapshot}`;
}
