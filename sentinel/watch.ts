import { z } from 'zod';

/**
 * What the daemon tells the sentinel, and hears from it: JSON over the sentinel's socket.
 *
 * `PUT /watch` replaces the whole watch and may be repeated; `GET /report` answers the report
 * alone; `POST /end` ends the process, which leaves everything as it is to its successor. All three
 * answer a SentinelReport.
 */

/** Raised when a sentinel of another release would misread a watch. */
export const protocolVersion = 1;

const watchedVolumeSchema = z.object({
  volume: z.string(),
  /** Tells this mount of the volume from the one before, also when its lock was taken again. */
  tenure: z.string(),
  /** Where it is mounted on this host. */
  mountpoint: z.string(),
  /** It has a file system of its own, which can be frozen without stopping anything else. */
  ownsFileSystem: z.boolean(),
  onLost: z.enum(['pause', 'stop']),
  /**
   * - `held`: proved to be ours until the deadline.
   * - `unproven`: nothing new; the last deadline told counts, and none told is one that has passed.
   * - `lost`: the containers that use it have to end, and nothing may be written for them any more.
   * - `evicted`: they have to end, but it is ours until they have.
   */
  state: z.enum(['held', 'unproven', 'lost', 'evicted']),
  /** By the machine's boot clock; with `held` alone. */
  deadlineMs: z.number().optional(),
});

export type WatchedVolume = z.infer<typeof watchedVolumeSchema>;

export const watchSchema = z.object({
  /** The boot that the deadlines belong to. */
  bootId: z.string(),
  /** How long before its deadline a volume's containers are paused. */
  leadMs: z.number(),
  /** How much longer before that they are asked to stop, with `on-lost=stop`. */
  graceMs: z.number(),
  volumes: z.array(watchedVolumeSchema),
  /** What has happened up to this number has been noted; it need not be reported again. */
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

/** Something the sentinel did, or could not do. */
export type Happening = z.infer<typeof happeningSchema>;

export const reportSchema = z.object({
  protocolVersion: z.number(),
  pid: z.number(),
  /**
   * By volume. `running`: nothing was done to its containers. `fenced`: all of them stand still or
   * have ended. `ended`: they have ended
   * for good.
   */
  volumes: z.record(z.string(), z.enum(['running', 'fenced', 'ended'])),
  happenings: z.array(happeningSchema),
});

export type SentinelReport = z.infer<typeof reportSchema>;
