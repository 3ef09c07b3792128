import { z } from 'zod';
import { InvalidRequestError } from './errors.ts';
import { plainText } from './stored-text.ts';

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
 * - `host`: one host, any number of its containers.
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

/**
 * The kinds of copies of a volume:
 * - `moment`: its content at one moment, as after a power failure.
 * - `live`: files that were copied one after the other while they may have been written to.
 */
export const copyKinds = ['moment', 'live'] as const;

export type CopyKind = (typeof copyKinds)[number];

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const nameRule = '1 to 128 of A-Z a-z 0-9 _ . -, starting with a letter or a digit';

/** A name that may become a part of a path. */
const nameSchema = z.string().regex(namePattern, 'is no name');

const sourceSchema = z
  .string()
  .refine((text) => text.split('@', 2).every((name) => namePattern.test(name)), 'is no volume');

const snapshotSchema = z.object({
  name: nameSchema,
  /** RFC 3339. */
  createdAt: plainText,
  /** Absent in records of the first releases: not known. */
  kind: z.enum(copyKinds).optional(),
  /** The bytes that it occupied in the pool when it was taken; absent in records of the first releases. */
  bytes: z.int().min(0).optional(),
  /** The snapshot that its content descends from; absent: none, or the record is of a first release. */
  parent: nameSchema.optional(),
});

const formerNameSchema = z.object({
  name: nameSchema,
  /** RFC 3339: when it was renamed. */
  until: plainText,
  /** The host that renamed it. */
  by: plainText,
});

export const recordSchema = z.object({
  /** The format of this record: 1, or 2 during a rename, which an older berth could misread. */
  version: z.literal([1, 2]),
  name: nameSchema,
  driver: nameSchema,
  /** The driver's own options, normalised by the driver (`size` in bytes, for example). */
  options: z.record(nameSchema, plainText),
  ...lockRulesSchema.shape,
  /** Absent: `storage` where the pool can, else `host`. */
  fencing: z.enum(fencingModes).optional(),
  /** True: Remove is refused. */
  protect: z.boolean().optional(),
  createdAt: plainText,
  /** The host that created it. */
  createdBy: plainText,
  /** The source of a copy: `VOLUME` or `VOLUME@SNAPSHOT`. */
  from: sourceSchema.optional(),
  /** The kind of the copy; absent in records of the first releases, and if it is no copy. */
  copyKind: z.enum(copyKinds).optional(),
  /** Oldest first. */
  snapshots: z.array(snapshotSchema).refine(haveOwnNames, 'has a name twice'),
  /** The snapshot that the content descends from: the last one taken, or the one restored since. */
  head: nameSchema.optional(),
  /** The fencing token of the last writer; makes each written value unique. */
  token: z.int(),
  /** The next name of the volume, whose storage has this name or that one: a rename has begun. */
  renamingTo: nameSchema.optional(),
  /** The names that it had, the last one last; the oldest are forgotten. */
  formerNames: z.array(formerNameSchema).optional(),
  /** This record only keeps its name for the volume that is being renamed to it, from this name. */
  renamingFrom: nameSchema.optional(),
});

export type Snapshot = z.infer<typeof snapshotSchema>;
export type VolumeRecord = z.infer<typeof recordSchema>;

/** The rules that `berth volume set` changes: those of the mount lock, and whether Remove is refused. */
export interface VolumeRules extends LockRules {
  readonly protect: boolean;
}

/** The parts of a volume that can be changed after Create: its rules, and options of its driver. */
export type Changeable = VolumeRules & { readonly options: Readonly<Record<string, string>> };

export function rulesOf({ access, failover, onLost, protect = false }: VolumeRecord): VolumeRules {
  return { access, failover, onLost, protect };
}

function haveOwnNames(all: readonly { readonly name: string }[]): boolean {
  return new Set(all.map(({ name }) => name)).size === all.length;
}

/** True for a name that a volume can have. */
export function isVolumeName(name: string): boolean {
  return namePattern.test(name);
}

/** Throws on a name that is not allowed (the engine checks none: `../x` reaches the plugin). */
export function checkVolumeName(name: string): void {
  checkName('volume', name);
}

/**
 * Throws on a name that is not allowed for a new volume. An engine takes the `v` of `-v v:/data` for a
 * drive of Windows and mounts another volume; older volumes may have such names.
 */
export function checkNewVolumeName(name: string): void {
  checkVolumeName(name);
  if (name.length > 1) return;
  throw new InvalidRequestError(
    `${JSON.stringify(name)} is too short for the name of a volume: use at least two characters, because ` +
      `Docker takes "-v ${name}:/data" for a path of Windows`,
  );
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
