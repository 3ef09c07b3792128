import { z } from 'zod';
import type { User } from './ports.ts';

const processSchema = z.object({
  pid: z.number(),
  tid: z.number().optional(),
  started: z.string(),
  name: z.string(),
});

export const userSchema = z.object({
  kind: z.enum(['container', 'engine', 'host']),
  key: z.string(),
  id: z.string().optional(),
  group: z.object({ path: z.string(), version: z.literal([1, 2]) }).optional(),
  process: processSchema.optional(),
  volumes: z.array(z.string()),
});

/**
 * How the engine knows a stopped container.
 *
 * | `shown`   | what is true                                                                     |
 * |-----------|----------------------------------------------------------------------------------|
 * | `no`      | the engine was not asked to pause it                                             |
 * | `asked`   | it was asked and has not confirmed: it may still do so, late                     |
 * | `paused`  | it shows the container as paused                                                 |
 * | `persons` | a person had paused it before: it stays paused afterwards                        |
 */
export const shownSchema = z.enum(['no', 'asked', 'paused', 'persons']);

export const stoppedUserSchema = z.object({
  user: userSchema,
  shown: shownSchema,
  /** True: it stands still for a copy only, and its engine hears nothing of it. */
  isForCopy: z.boolean().optional(),
  /** The time by the boot clock of its release, kept for a while in case a late pause follows. */
  releasedAtMs: z.number().optional(),
});

/** A user that the sentinel has stopped, or was about to stop when it was killed. */
export type StoppedUser = Omit<z.infer<typeof stoppedUserSchema>, 'user'> & { readonly user: User };
