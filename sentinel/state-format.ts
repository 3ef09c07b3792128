import createDebug from 'debug';
import { z } from 'zod';
import { messageOf } from '../lib/running/message-of.ts';
import type { ClockNews } from './clock-jump.ts';
import { clockNewsSchema } from './clock-jump.ts';
import type { StoppedUser } from './stopped-user.ts';
import { stoppedUserSchema } from './stopped-user.ts';
import type { VolumeFence } from './volume-fence.ts';
import { volumeFenceSchema } from './volume-fence.ts';
import type { Happening, Watch, WatchChange } from './watch.ts';
import { changeSchema, reportSchema, watchSchema } from './watch.ts';

const log = createDebug('berth:sentinel');

/*
 * The state file holds lines of JSON. The first has the whole state, each later one what a step has
 * changed; the parts that a line has replace what was known, but `deadlineMs` and `change` are
 * applied to the watch. The last line may be torn, because its
 * writer was killed.
 *
 * Version 1 (protocol 1) is one line, with other names. It is read, so that a sentinel of this
 * release continues where one of the release before has ended.
 */

const partsSchema = z.object({
  version: z.literal(2),
  watch: watchSchema.optional(),
  /** The new deadline of all volumes that have one. */
  deadlineMs: z.number().optional(),
  /** A change of the watch that the lines before have given. */
  change: changeSchema.pick({ volumes: true, released: true }).optional(),
  /** The fences by volume; null: the volume is watched no more. */
  fences: z.record(z.string(), volumeFenceSchema.nullable()).optional(),
  /** The stopped users by their keys; null: it is stopped no more. */
  stopped: z.record(z.string(), stoppedUserSchema.nullable()).optional(),
  clock: clockNewsSchema.optional(),
  happenings: reportSchema.shape.happenings.optional(),
  nextNumber: z.number().optional(),
});

/** The parts of a line. */
export interface StateParts {
  readonly watch?: Watch | undefined;
  readonly deadlineMs?: number | undefined;
  readonly change?: Pick<WatchChange, 'volumes' | 'released'> | undefined;
  readonly clock?: ClockNews | undefined;
  readonly fences?: Readonly<Record<string, VolumeFence | null>> | undefined;
  readonly stopped?: Readonly<Record<string, StoppedUser | null>> | undefined;
  /** The happenings since the line before. A watch in the line drops those that its daemon has noted. */
  readonly happenings?: readonly Happening[] | undefined;
  readonly nextNumber?: number | undefined;
}

const firstVersionSchema = z.object({
  watch: watchSchema,
  guards: z.record(
    z.string(),
    z.object({
      identity: volumeFenceSchema.shape.identity,
      state: z.enum(['running', 'fenced', 'ended']),
      isStill: z.boolean(),
      isCutOff: z.boolean(),
      killed: z.array(z.string()),
    }),
  ),
  paused: z.array(
    z.object({
      id: z.string(),
      volumes: z.array(z.string()),
      group: z.object({ path: z.string(), version: z.literal([1, 2]) }).optional(),
      isUsers: z.boolean(),
      isUncertain: z.boolean(),
      resumedAtMs: z.number().optional(),
    }),
  ),
  happenings: reportSchema.shape.happenings,
  nextNumber: z.number(),
});

export function stateLine(parts: StateParts): string {
  return JSON.stringify({ version: 2, ...parts });
}

/** Reads the lines of a state file up to the first that can't be read. */
export function readStateLines(lines: readonly string[]): StateParts[] {
  const read: StateParts[] = [];
  for (const [index, line] of lines.entries()) {
    try {
      const value: unknown = JSON.parse(line);
      const isFirst = index === 0 && !Object.hasOwn(Object(value), 'version');
      read.push(isFirst ? fromFirstVersion(value) : partsSchema.parse(value));
    } catch (error) {
      log('WARNING the state file is not read from line %d on: %s', index + 1, messageOf(error));
      break;
    }
  }
  return read;
}

function fromFirstVersion(value: unknown): StateParts {
  const { watch, guards, paused, happenings, nextNumber } = firstVersionSchema.parse(value);
  const fences = Object.entries(guards).map(
    ([volume, { state, isStill, isCutOff, identity, killed }]) => {
      const fs = isCutOff ? 'cut-off' : isStill ? 'frozen' : 'open';
      const fence = { phase: state, fs, fsSinceMs: 0, killed, complaint: '' } as const;
      return [volume, { ...fence, ...(identity && { identity }) }] as const;
    },
  );
  const stopped = paused.map(({ id, volumes, group, isUsers, isUncertain, resumedAtMs }) => {
    const key = group?.path ?? id;
    const shown = isUsers ? 'persons' : isUncertain ? 'asked' : 'paused';
    const user = { kind: 'container', key, id, volumes, ...(group && { group }) } as const;
    const released = resumedAtMs === undefined ? {} : { releasedAtMs: resumedAtMs };
    return [key, { user, shown, ...released }] as const;
  });
  return {
    watch,
    fences: Object.fromEntries(fences),
    stopped: Object.fromEntries(stopped),
    happenings,
    nextNumber,
  };
}
