import type { Condition } from '../lock/condition.ts';
import { UnavailableError } from './errors.ts';

/** A call on a volume's storage that did not answer within its limit, and has not ended. */
export interface Silence {
  /** Empty: the call concerns the storage of a driver as a whole. */
  readonly volume: string;
  /** The work that does not end, such as `mount`. */
  readonly work: string;
  /** True: it changes nothing, so operations on the volume need not wait for its end. */
  readonly isRead: boolean;
  /** When the storage answered last, or was first asked. */
  readonly since: Date;
}

/** The volumes whose storage does not answer now. */
export interface Silences {
  /** Lists every silence, oldest first. */
  all(): readonly Silence[];
  /** Returns the silence of a volume; undefined: its storage answers, or nobody asks it. */
  of(volume: string): Silence | undefined;
  /** Calls `heard` with each new silence of a volume, until the result is disposed of. */
  onSilence(volume: string, heard: (silence: Silence) => void): Disposable;
}

/**
 * The storage of a volume does not answer. The call may still be under way: what it has begun is
 * undone, or completed, when the storage answers.
 */
export class StorageSilentError extends UnavailableError {
  constructor(silence: Silence) {
    super(`${sentence(silence)}; ${advice}`);
  }
}

/** Returns a condition for each silence. */
export function silenceConditions(silences: Silences): readonly Condition[] {
  return silences
    .all()
    .map((silence) => ({ severity: 'warning', message: describeSilence(silence) }));
}

/** Returns what a person reads in `berth status` and in the event log. */
export function describeSilence(silence: Silence): string {
  return `${sentence(silence)}. Calls on it fail until it answers, other volumes go on; ${advice}`;
}

function sentence({ volume, work, since }: Silence): string {
  const time = since.toISOString();
  if (volume === '') return `the storage does not answer since ${time} (${work})`;
  return `the storage of volume ${volume} does not answer since ${time} (${work})`;
}

const advice = 'look at the file system of the volume directory, and at its server or disk';
