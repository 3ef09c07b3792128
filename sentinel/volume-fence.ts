import { z } from 'zod';

/**
 * The fence of a watched volume: what the sentinel has done about it. A new mount of the volume
 * starts with a new fence.
 *
 * | `state`   | what is true                           | entered                               |
 * |-----------|----------------------------------------|---------------------------------------|
 * | `running` | the sentinel stops no container        | first; when the lock is proved again  |
 * |           |                                        | and the file system is thawed         |
 * | `fenced`  | no container can run: each stands      | at the fence deadline, once this is   |
 * |           | still or has ended                     | true of all that use the volume       |
 * | `ended`   | all containers that used it have ended | the same, for a lost or evicted lock  |
 *
 * | flag        | what is true                           | set              | cleared             |
 * |-------------|----------------------------------------|------------------|---------------------|
 * | `isFlushed` | cached data were written back early    | shortly before   | when the lock is    |
 * |             |                                        | the deadline     | proved again        |
 * | `isAsked`   | the containers were asked to stop      | the same, with   | the same            |
 * |             |                                        | `on-lost=stop`   |                     |
 * | `isStill`   | the file system is frozen; one that is | after `fenced`,  | before `running`,   |
 * |             | not the volume's own is written back   | `on-lost=pause`  | and by a shutdown   |
 * | `isCutOff`  | the file system is shut down           | the lock is lost | never               |
 *
 * So `fenced` alone does not say that the file system is still: the kernel may write back what
 * containers wrote before, until `isStill` or `isCutOff`.
 */
export const volumeFenceSchema = z.object({
  /** The last known mount at the volume's mountpoint. */
  identity: z.object({ device: z.string(), root: z.string() }).optional(),
  state: z.enum(['running', 'fenced', 'ended']),
  isStill: z.boolean(),
  isCutOff: z.boolean(),
  isAsked: z.boolean(),
  isFlushed: z.boolean(),
  /** IDs of the containers that were killed for the volume. */
  killed: z.array(z.string()),
  /** The last failure that was reported. */
  complaint: z.string(),
});

export type VolumeFence = z.infer<typeof volumeFenceSchema> & {
  /** Work on the file system that is in progress; never stored. */
  busy?: Promise<void> | undefined;
};

/** The fence of a volume that the sentinel has done nothing about. */
export const openFence: VolumeFence = {
  state: 'running',
  isStill: false,
  isCutOff: false,
  isAsked: false,
  isFlushed: false,
  killed: [],
  complaint: '',
};
