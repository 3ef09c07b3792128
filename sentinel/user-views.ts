import { messageOf } from '../lib/running/message-of.ts';
import { demandOn } from './demand.ts';
import type { UserView, VolumeView } from './plan.ts';
import type { MachineClock, User } from './ports.ts';
import type { StoppedUser } from './stopped-user.ts';
import type { UserControl } from './user-control.ts';

export interface UserViewsOptions {
  readonly control: UserControl;
  readonly clock: Pick<MachineClock, 'now'>;
  /** Reports a failure that concerns a volume. */
  readonly complain: (volume: string, message: string) => void;
}

/** Reads how the users stand that the plan may act on, and remembers since when they stand still. */
export class UserViews {
  readonly #options: UserViewsOptions;
  /** The time by the boot clock when a user was first seen to stand still, by its key. */
  readonly #stillSinceMs = new Map<string, number>();

  constructor(options: UserViewsOptions) {
    this.#options = options;
  }

  /** Reads those that were stopped, and those of the found whose volumes may not run. */
  async read(
    volumes: readonly VolumeView[],
    found: readonly User[],
    stopped: ReadonlyMap<string, StoppedUser>,
  ): Promise<UserView[]> {
    const byName = new Map(volumes.map((each) => [each.watched.volume, each]));
    const isConcerned = (user: User) =>
      demandOn(user, byName) !== 'run' ||
      user.volumes.some((name) => byName.get(name)?.wish === 'ask');
    const users = new Map<string, User>();
    const add = (user: User) => {
      const known = users.get(user.key);
      const names = new Set([...user.volumes, ...(known?.volumes ?? [])]);
      users.set(user.key, { ...known, ...user, volumes: [...names] });
    };
    found.filter(isConcerned).forEach(add);
    // After the found: it is released by the group by which it was stopped.
    for (const { user } of stopped.values()) add(user);
    for (const key of this.#stillSinceMs.keys()) {
      if (!users.has(key)) this.#stillSinceMs.delete(key);
    }
    const views: UserView[] = [];
    for (const user of users.values()) views.push(await this.#read(user, stopped.get(user.key)));
    return views;
  }

  async #read(user: User, stopped: StoppedUser | undefined): Promise<UserView> {
    const { control, clock, complain } = this.#options;
    try {
      const standing = await control.standing(user);
      const mayWrite = standing.is === 'running' || standing.is === 'freezing';
      if (mayWrite) this.#stillSinceMs.delete(user.key);
      else if (!this.#stillSinceMs.has(user.key)) this.#stillSinceMs.set(user.key, clock.now());
      return { user, standing, stillSinceMs: this.#stillSinceMs.get(user.key), stopped };
    } catch (error) {
      this.#stillSinceMs.delete(user.key);
      const message = `how ${user.id ?? user.key} stands can't be read: ${messageOf(error)}`;
      for (const volume of user.volumes) complain(volume, message);
      return { user, standing: { is: 'running' }, stillSinceMs: undefined, stopped };
    }
  }
}
