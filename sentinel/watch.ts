import { z } from 'zod';

/*
 * The protocol between the daemon and the sentinel: JSON over the sentinel's Unix socket. The
 * release before and after may speak to each other, so the names stay as they are.
 *
 * `PUT /watch` gives all mounts of the daemon and may be repeated. `GET /report` changes nothing.
 * `POST /end` ends the process, which leaves everything to its successor as it is. Each of them is
 * answered with a SentinelReport.
 *
 * `PATCH /watch` gives what has changed since the last watch, so that a Mount does not take longer the
 * more volumes are mounted. It names the state that it changes by the `base` of the last answer. A
 * sentinel that is in another state (it is another process, or somebody else has given it a watch)
 * refuses with status 409 and changes nothing; the daemon then gives all mounts. A sentinel that does
 * not know the call refuses it, too. It is answered with a ChangeReport.
 *
 * In protocol 1 a volume that is absent from a watch is watched no more. In protocol 2 it is watched,
 * with its last deadline, until a watch names it in `released`. A sentinel answers a daemon in the
 * daemon's protocol.
 */

/** The protocol of this release. */
export const protocolVersion = 2;

const watchedVolumeSchema = z.object({
  volume: z.string(),
  /** The mount mark: differs between two mounts of the volume, and stays when a lock is re-acquired. */
  tenure: z.string(), // tidy-ok: protocol name
  /** The mountpoint on this host. */
  mountpoint: z.string(),
  /** True if the volume has a file system of its own, which can be frozen without harm to others. */
  ownsFileSystem: z.boolean(),
  onLost: z.enum(['pause', 'stop']),
  /**
   * True: the mount is older than the daemon's process, so a sentinel whose state is lost may have
   * frozen its file system.
   */
  isAdopted: z.boolean().optional(),
  /**
   * The ownership of the volume:
   * - `held`: no other host can hold it before the deadline.
   * - `unproven`: no news; the last deadline counts. Without one it counts as passed.
   * - `lost`: the containers must end, and cached data must not be written back.
   * - `evicted`: the containers must end; this host holds the volume until they have, and no longer
   *   than until the deadline.
   */
  state: z.enum(['held', 'unproven', 'lost', 'evicted']),
  /** Milliseconds by the machine's boot clock; only with `held` and `evicted`. */
  deadlineMs: z.number().optional(),
  /**
   * Everybody who uses the volume stands still until this time by the boot clock, for a copy of one moment.
   * They run again at that time also if the daemon has ended.
   */
  stillUntilMs: z.number().optional(),
});

export type WatchedVolume = z.infer<typeof watchedVolumeSchema>;

/** A mount that has ended: nothing of it is left on this host, and its lock is released. */
const releasedMountSchema = z.object({
  volume: z.string(),
  tenure: z.string(), // tidy-ok: protocol name
});

export type ReleasedMount = z.infer<typeof releasedMountSchema>;

/** Returns true if both are one mount of one volume. */
export function isSameMount(a: ReleasedMount, b: ReleasedMount): boolean {
  return a.volume === b.volume && a.tenure === b.tenure; // tidy-ok: protocol name
}

/** Returns true if all but the deadline of a volume is the same. */
export function isSameVolume(one: WatchedVolume, other: WatchedVolume): boolean {
  return (
    isSameMount(one, other) &&
    one.mountpoint === other.mountpoint &&
    one.ownsFileSystem === other.ownsFileSystem &&
    one.onLost === other.onLost &&
    one.state === other.state &&
    one.stillUntilMs === other.stillUntilMs
  );
}

export const watchSchema = z.object({
  /** The protocol of the daemon. */
  protocol: z.number().default(1),
  /** The boot that the deadlines belong to. */
  bootId: z.string(),
  /** How long before a volume's deadline its containers are paused, at least. */
  leadMs: z.number(),
  /** How long before that they are asked to stop, with `on-lost=stop`. */
  graceMs: z.number(),
  /** The TTL of the locks; 0 where the daemon does not say it. */
  ttlMs: z.number().default(0),
  /** The time from a deadline to the earliest end of the TTL. */
  marginMs: z.number().default(0),
  /** The process ID of the daemon, whose own work in a volume is no use of it. */
  daemonPid: z.number().optional(),
  /** Processes of the host itself are stopped, too. */
  fenceHostProcesses: z.boolean().default(false),
  /** Mounts that have ended; repeated until the report does not list them any more. */
  released: z.array(releasedMountSchema).default([]),
  volumes: z.array(watchedVolumeSchema),
  /** The daemon has recorded the happenings up to this number: they need no second report. */
  noted: z.number(),
});

export type Watch = z.infer<typeof watchSchema>;

/** A watch as a daemon writes it: what has a default may be left out. */
export type WatchMessage = z.input<typeof watchSchema>;

/** The mounts that were added or have ended since the last watch. The other volumes stay as they are, with their deadlines. */
export const changeSchema = z.object({
  bootId: z.string(),
  /** The state that is changed: from the answer to the last watch or change. */
  base: z.string(),
  /** Mounts that have ended. */
  released: z.array(releasedMountSchema),
  /** New mounts, and those of which more than the deadline has changed. */
  volumes: z.array(watchedVolumeSchema),
});

export type WatchChange = z.infer<typeof changeSchema>;

export const changeReportSchema = z.object({
  /** The state after the change. */
  base: z.string(),
  /** Milliseconds; the same figure as in a SentinelReport. */
  leadMs: z.number(),
});

export type ChangeReport = z.infer<typeof changeReportSchema>;

const happeningSchema = z.object({
  number: z.number(),
  /** RFC 3339. */
  at: z.string(),
  kind: z.enum(['paused', 'resumed', 'stopped', 'killed', 'failed']),
  volume: z.string(),
  message: z.string(),
  /** The engine's ID of the container; absent for other users and in protocol 1. */
  container: z.string().optional(),
});

/** Something that the sentinel did, or could not do. */
export type Happening = z.infer<typeof happeningSchema>;

const watchedReportSchema = z.object({
  /** The mount mark. */
  tenure: z.string(), // tidy-ok: protocol name
  phase: z.string(),
  fs: z.string(),
  /** The mountpoint on this host. */
  mountpoint: z.string().optional(),
  /** True while users of the volume stand still for the sentinel: releasing it resumes them. */
  hasStopped: z.boolean().optional(),
  /** The time by the boot clock since which nobody can have written; with phase `fenced` and `ended`. */
  fencedSinceMs: z.number().optional(),
});

export const reportSchema = z.object({
  /** The protocol of the answer: that of the watch, or the sentinel's own if it is lower. */
  protocolVersion: z.number(),
  pid: z.number(),
  /** Whether each watched volume is fenced; volume-fence.ts says what that means. */
  volumes: z.record(z.string(), z.enum(['running', 'fenced', 'ended'])),
  happenings: z.array(happeningSchema),
  /** Protocol 2: each watched volume. */
  watched: z.record(z.string(), watchedReportSchema).optional(),
  /** Protocol 2: how long before a deadline the sentinel has to begin, by what it measured. */
  leadMs: z.number().optional(),
  /** Protocol 2: why a volume is not fully fenced although it should be. */
  incomplete: z.record(z.string(), z.string()).optional(),
  /** Names the state that `PATCH /watch` may change; absent if the sentinel does not know that call. */
  base: z.string().optional(),
});

export type SentinelReport = z.infer<typeof reportSchema>;
