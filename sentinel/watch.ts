import { z } from 'zod';

/*
 * The protocol between the daemon and the sentinel: JSON over the sentinel's Unix socket. The
 * release before and after may speak to each other, so the names stay as they are.
 *
 * `PUT /watch` replaces the whole watch and may be repeated. `GET /report` changes nothing.
 * `POST /end` ends the process, which leaves everything to its successor as it is. Each of them is
 * answered with a SentinelReport.
 */

/** Increase it when a sentinel of another release would misread a watch. */
export const protocolVersion = 1;

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
   * The ownership of the volume:
   * - `held`: no other host can hold it before the deadline.
   * - `unproven`: no news; the last deadline counts. Without one it counts as passed.
   * - `lost`: the containers must end, and cached data must not be written back.
   * - `evicted`: the containers must end; this host holds the volume until they have.
   */
  state: z.enum(['held', 'unproven', 'lost', 'evicted']),
  /** Milliseconds by the machine's boot clock; only with `held`. */
  deadlineMs: z.number().optional(),
});

export type WatchedVolume = z.infer<typeof watchedVolumeSchema>;

export const watchSchema = z.object({
  /** The boot that the deadlines belong to. */
  bootId: z.string(),
  /** How long before a volume's deadline its containers are paused. */
  leadMs: z.number(),
  /** How long before that they are asked to stop, with `on-lost=stop`. */
  graceMs: z.number(),
  volumes: z.array(watchedVolumeSchema),
  /** The daemon has recorded the happenings up to this number: they need no second report. */
  noted: z.number(),
});

export type Watch = z.infer<typeof watchSchema>;

const happeningSchema = z.object({
  number: z.number(),
  /** RFC 3339. */
  at: z.string(),
  kind: z.enum(['paused', 'resumed', 'stopped', 'killed', 'failed']),
  volume: z.string(),
  message: z.string(),
});

/** Something that the sentinel did, or could not do. */
export type Happening = z.infer<typeof happeningSchema>;

export const reportSchema = z.object({
  protocolVersion: z.number(),
  pid: z.number(),
  /** The state of each volume's fence; volume-fence.ts says what each means. */
  volumes: z.record(z.string(), z.enum(['running', 'fenced', 'ended'])),
  happenings: z.array(happeningSchema),
});

export type SentinelReport = z.infer<typeof reportSchema>;
