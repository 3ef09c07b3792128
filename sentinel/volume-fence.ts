import { z } from 'zod';

/**
 * The fence of a watched volume: what the sentinel has done about it. A new mount of the volume
 * starts with a new fence.
 *
 * | `phase`     | what is true                              | entered                             |
 * |-------------|-------------------------------------------|-------------------------------------|
 * | `running`   | nobody is stopped for the volume          | first; when the lock is proved      |
 * |             |                                           | again and the file system is thawed |
 * | `preparing` | the deadline is near: data are written    | TTL/5 before the lead; from the     |
 * |             | back, users are looked for, and stopped   | lead on users are stopped           |
 * |             | once the lead begins                      |                                     |
 * | `asked`     | the same, and its containers were asked   | with `on-lost=stop`, the grace      |
 * |             | to stop by themselves                     | before the lead                     |
 * | `fenced`    | nobody can write: a look that began after | when that was seen                  |
 * |             | all known users stood still found no      |                                     |
 * |             | other, and an own file system is `frozen` |                                     |
 * |             | or `cut-off`                              |                                     |
 * | `ended`     | as `fenced`, and no user is left          | the same, for a lost or evicted lock|
 *
 * | `fs`       | what is true of an own file system       | left to                             |
 * |------------|------------------------------------------|-------------------------------------|
 * | `open`     | the kernel may write to it               | `flushing`, `freezing`, `cut-off`   |
 * | `flushing` | the same; cached data are written back   | `open`, `freezing`, `cut-off`       |
 * | `freezing` | a freeze was requested, not confirmed;   | `frozen`; `cut-off` in the margin;  |
 * |            | or a predecessor's state is lost, so it  | `open`                              |
 * |            | may have frozen it                       |                                     |
 * | `frozen`   | nothing writes to it, until the thaw     | `open`, `cut-off`                   |
 * | `cut-off`  | it is shut down: nothing ever writes to  | nothing: this mount is over         |
 * |            | it again                                 |                                     |
 *
 * A file system that is not the volume's own knows `open` and `flushing` only.
 */
export const volumeFenceSchema = z.object({
  /** The last known mount at the volume's mountpoint. */
  identity: z.object({ device: z.string(), root: z.string() }).optional(),
  phase: z.enum(['running', 'preparing', 'asked', 'fenced', 'ended']),
  fs: z.enum(['open', 'flushing', 'freezing', 'frozen', 'cut-off']),
  /** The time by the boot clock when `fs` was entered. */
  fsSinceMs: z.number(),
  /** The time by the boot clock when its users had to stand still; absent while they may run. */
  stopSinceMs: z.number().optional(),
  /** The time by the boot clock when `fenced` or `ended` was entered; only in these phases. */
  fencedSinceMs: z.number().optional(),
  /** The keys of the users that were killed for the volume. */
  killed: z.array(z.string()),
  /** The last failure that was reported. */
  complaint: z.string(),
});

export type VolumeFence = z.infer<typeof volumeFenceSchema>;

/** The fence of a volume that the sentinel has done nothing about. */
export const openFence: VolumeFence = {
  phase: 'running',
  fs: 'open',
  fsSinceMs: 0,
  killed: [],
  complaint: '',
};

/** Returns true if the file system can't change any more; where it is shared, users decide alone. */
export function isFileSystemStill({ fs }: VolumeFence, ownsFileSystem: boolean): boolean {
  return !ownsFileSystem || fs === 'frozen' || fs === 'cut-off';
}
