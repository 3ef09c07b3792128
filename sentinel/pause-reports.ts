import { unproven } from './perform.ts';
import type { Action, UserView, VolumeView } from './plan.ts';
import type { SentinelState } from './state.ts';
import type { UserControl } from './user-control.ts';

/** Reports each pause when the user is first seen to stand still, with how early or late that was. */
export class PauseReports {
  readonly #state: SentinelState;
  readonly #control: Pick<UserControl, 'eventNameOf'>;
  /** The keys of users whose pause is not reported yet, with the volumes for which they were stopped. */
  readonly #expected = new Map<string, readonly VolumeView[]>();

  constructor(options: {
    readonly state: SentinelState;
    readonly control: Pick<UserControl, 'eventNameOf'>;
  }) {
    this.#state = options.state;
    this.#control = options.control;
  }

  /** Notes the users that are about to be stopped; a person's pause is no news, and a copy is none. */
  expect(actions: readonly Action[], volumes: readonly VolumeView[]): void {
    for (const action of actions) {
      if (action.do !== 'stop' || action.wasPaused || action.isForCopy) continue;
      const names = action.user.volumes;
      const still = volumes.filter(({ watched, wish }) => {
        return names.includes(watched.volume) && wish === 'stand-still';
      });
      this.#expected.set(action.user.key, still);
    }
  }

  report({ user, standing, stopped }: UserView, now: number): void {
    const paused = this.#expected.get(user.key);
    const isStopping = standing.is === 'running' || standing.is === 'freezing';
    if (paused === undefined || (isStopping && stopped !== undefined)) return;
    this.#expected.delete(user.key);
    if (standing.is === 'ended') return;
    void this.#control.eventNameOf(user).then((name) => {
      for (const { watched } of paused) {
        const leftMs = Math.round((watched.deadlineMs ?? 0) - now);
        const isLate = leftMs < 0 && watched.deadlineMs !== undefined;
        const when = isLate ? `${-leftMs} ms AFTER` : `${leftMs} ms before`;
        const message = `paused ${name} ${when} the deadline: ${unproven}`;
        this.#state.note('paused', watched.volume, message, user.id);
      }
    });
  }
}
