import { messageOf } from '../lib/running/message-of.ts';
import type { MachineClock, User } from './ports.ts';
import type { SentinelState } from './state.ts';
import type { StoppedUser } from './stopped-user.ts';
import { Tasks } from './tasks.ts';
import type { UserControl } from './user-control.ts';

/*
 * A release has two parts. The kernel lets a user run in the step that plans its release: so
 * hundreds of containers go on within a second. Their engine is asked to resume them afterwards, beside
 * the loop: it needs some hundredths of a second for each, and resumes only what is frozen, so each
 * container stands still once more for that time.
 *
 * | after                       | in the state file       | in the kernel | the engine shows    |
 * |-----------------------------|-------------------------|---------------|---------------------|
 * | the release in the kernel   | stopped                 | runs          | a pause, or none    |
 * | the end of the step         | stopped, `releasedAtMs` | runs          | a pause, or none    |
 * | the freeze for the engine   | stopped, `releasedAtMs` | marked frozen | a pause             |
 * | the engine's answer         | stopped, `releasedAtMs` | runs          | no pause            |
 * | the end of the confirmation | not stopped             | runs          | no pause            |
 *
 * Until the confirmation ends the container's group is one that a successor finds, whose state file
 * may be lost.
 *
 * A sentinel that finds one of these states goes on from there: the plan releases whatever is
 * stopped and may run, and each part can be repeated.
 */

/** An engine that hung may still carry out an old pause request: check so long after it answers. */
const latePauseMs = 5_000;
/** Releases in one step take about this long at most: other users may have to be stopped meanwhile. */
const longestReleasesMs = 50;
/** Each container stands still while its engine resumes it: a few at once keep that time short. */
const confirmationsAtOnce = 2;
/** The pause before an engine is asked about the same container again. */
const repeatMs = 500;

export interface ReleasesOptions {
  readonly state: SentinelState;
  readonly control: UserControl;
  readonly clock: Pick<MachineClock, 'now'>;
  /** Returns true if none of the user's volumes requires now that it stands still. */
  readonly mayRun: (user: User) => boolean;
  /** Called when something has changed that the next step wants to see. */
  readonly changed: () => void;
}

/** Lets stopped users run again, first in the kernel and then for their engine. */
export class Releases {
  readonly #options: ReleasesOptions;
  readonly #confirmations: Tasks;
  /** The keys of released users, with the time since which their engine answers each question. */
  readonly #answersSinceMs = new Map<string, number>();

  constructor(options: ReleasesOptions) {
    this.#options = options;
    this.#confirmations = new Tasks(confirmationsAtOnce, options.clock, options.changed);
  }

  /** Releases users in the kernel. Leaves some to the next step if there are many. */
  async inKernel(users: readonly StoppedUser[]): Promise<void> {
    const { state, control, clock, changed } = this.#options;
    const endMs = clock.now() + longestReleasesMs;
    for (const { user, shown, releasedAtMs } of users) {
      if (clock.now() > endMs) {
        changed();
        return;
      }
      if (releasedAtMs !== undefined || !control.isReachable(user)) continue;
      // A lock may have been lost since the plan.
      if (!this.#isWanted(user.key, undefined)) continue;
      try {
        await control.release(user, keepsPause(user, shown));
        this.#noteReleased(user.key);
      } catch (error) {
        const message = `${user.id ?? user.key} can't be released: ${messageOf(error)}`;
        for (const volume of user.volumes) state.complain(volume, message);
      }
    }
  }

  /** Tells the engines, beside the loop. Where only an engine can release a user, it does so here. */
  throughEngine({ user: { key } }: StoppedUser): void {
    const { state } = this.#options;
    const stopped = state.stopped.get(key);
    if (stopped) this.#confirmations.start(key, () => this.#confirm(stopped), repeatMs);
  }

  async #confirm({ user, shown, releasedAtMs }: StoppedUser): Promise<void> {
    const { state, control } = this.#options;
    const isWanted = () => this.#isWanted(user.key, releasedAtMs);
    if (!isWanted()) return;
    // A pause in the moment of the freeze may be one in name only: then it is not frozen now.
    const isPersons =
      shown === 'persons' || (shown === 'no' && (await control.standing(user)).is === 'frozen');
    const isConfirmed = isPersons || (await control.showReleased(user, isWanted));
    if (!isConfirmed) this.#answersSinceMs.delete(user.key);
    if (!isConfirmed || !isWanted()) return;
    if (releasedAtMs === undefined) {
      if (!control.isReachable(user)) this.#noteReleased(user.key);
    } else if (shown !== 'asked' || this.#answersMs(user.key) > latePauseMs) {
      if (!(await control.forget(user)) || !isWanted()) return;
      this.#answersSinceMs.delete(user.key);
      state.removeStopped(user.key);
    }
  }

  /** Returns for how long the engine of a released user has answered. */
  #answersMs(key: string): number {
    const now = this.#options.clock.now();
    const sinceMs = this.#answersSinceMs.get(key) ?? now;
    this.#answersSinceMs.set(key, sinceMs);
    return now - sinceMs;
  }

  /** Returns false if the user was stopped again, or must be, since it was released at that time. */
  #isWanted(key: string, releasedAtMs: number | undefined): boolean {
    const stopped = this.#options.state.stopped.get(key);
    if (!stopped || stopped.releasedAtMs !== releasedAtMs) return false;
    return this.#options.mayRun(stopped.user);
  }

  #noteReleased(key: string): void {
    const { state, control, clock } = this.#options;
    const stopped = state.stopped.get(key);
    if (!stopped) return;
    const { user, shown, isForCopy } = stopped;
    this.#answersSinceMs.delete(key);
    if (shown === 'persons') state.removeStopped(key);
    else state.setStopped({ ...stopped, releasedAtMs: clock.now() });
    if (shown === 'persons' || isForCopy) return;
    void control.eventNameOf(user).then((name) => {
      const message = `resumed ${name}: this host holds the volume`;
      for (const volume of user.volumes) state.note('resumed', volume, message, user.id);
    });
  }
}

/**
 * Returns true if a freeze that the sentinel has not requested stays: a container whose engine was not asked
 * to pause it was paused by a person.
 */
function keepsPause({ process }: User, shown: StoppedUser['shown']): boolean {
  return shown === 'persons' || (shown === 'no' && process === undefined);
}
