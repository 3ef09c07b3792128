import { messageOf } from '../lib/running/message-of.ts';
import { unknownVolume } from './demand.ts';
import type { Action, StorageAction } from './plan.ts';
import type { FileSystems, MachineClock, User } from './ports.ts';
import { Releases } from './releases.ts';
import type { SentinelState } from './state.ts';
import type { StoppedUser } from './stopped-user.ts';
import { StorageActions } from './storage-actions.ts';
import { Tasks } from './tasks.ts';
import type { UserControl } from './user-control.ts';
import type { WatchedVolume } from './watch.ts';

/** How often a container that stands still is looked at: the engine may show it, or kill it. */
const showPauseMs = 500;
/** Calls to the engine at once. */
const engineTasks = 8;

export interface PerformOptions {
  readonly state: SentinelState;
  readonly control: UserControl;
  readonly fileSystems: FileSystems;
  readonly clock: MachineClock;
  /** Returns true if none of the user's volumes requires now that it stands still. */
  readonly mayRun: (user: User) => boolean;
  /** Called when something has ended that the next step wants to see. */
  readonly changed: () => void;
}

/**
 * Carries out the actions of a plan: first it writes what it is about to do, then it freezes all
 * users, then it holds them, then it releases others; whatever may take long goes on beside the loop.
 */
export class Perform {
  readonly #options: PerformOptions;
  readonly #engine: Tasks;
  /** Tasks that may take for ever, so that nothing waits for a place among them. */
  readonly #patient: Tasks;
  readonly #storage: StorageActions;
  readonly #releases: Releases;

  /** The names of users that were killed and have not been seen to have ended. */
  readonly #killing = new Map<string, string>();
  /** The keys of users that somebody else has killed, and that were thawed so that they can end. */
  readonly #dying = new Set<string>();

  constructor(options: PerformOptions) {
    this.#options = options;
    const { clock, changed } = options;
    this.#engine = new Tasks(engineTasks, clock, changed);
    this.#patient = new Tasks(Number.POSITIVE_INFINITY, clock, changed);
    this.#storage = new StorageActions({ ...options, tasks: this.#patient });
    this.#releases = new Releases(options);
  }

  async all(actions: readonly Action[]): Promise<void> {
    const { state } = this.#options;
    for (const action of actions) this.#intend(action);
    state.commit();
    // Storage goes first: a frozen file system stops every writer, however it got there.
    for (const action of actions) if (isStorageAction(action)) this.#storage.begin(action);
    // With version 1 of control groups a process that is killed ends only while it is not frozen.
    const isToKill = ({ do: what, user: { key } }: UserAction) =>
      what === 'kill' && !this.#killing.has(key);
    const ofUsers = actions.filter(isUserAction);
    for (const action of ofUsers) {
      if (action.do === 'stop' || isToKill(action)) await this.#freeze(action.user);
    }
    // Many that must be killed wait for their turn: an engine may carry out an old request meanwhile.
    for (const action of ofUsers) {
      if (action.do !== 'kill' || isToKill(action)) await this.#hold(action.user);
    }
    const released = actions.flatMap((action) => (action.do === 'release' ? action.stopped : []));
    // Whoever survives a kill and runs again is frozen first at the next kill.
    for (const { user } of released) this.#killing.delete(user.key);
    await this.#releases.inKernel(released);
    for (const action of actions) this.#throughEngine(action);
    state.commit();
  }

  #intend(action: Action): void {
    const { state } = this.#options;
    if (action.do === 'enter') state.changeFence(action.volume, action.change);
    else if (action.do === 'forget') this.#ended(action.user);
    else if (isStorageAction(action)) this.#storage.intend(action);
    else if (action.do === 'stop' || action.do === 'kill') {
      const known = state.stopped.get(action.user.key);
      const shown = known ? shownAgain(known) : action.wasPaused ? 'persons' : 'no';
      const { isForCopy } = action;
      state.setStopped({ user: action.user, shown, ...(isForCopy && { isForCopy }) });
    }
  }

  async #freeze(user: User): Promise<void> {
    if (await this.#isDying(user)) return;
    await this.#tried(user, () => this.#options.control.freeze(user));
  }

  async #hold(user: User): Promise<void> {
    if (await this.#isDying(user)) return;
    await this.#tried(user, () => this.#options.control.hold(user));
  }

  /**
   * Returns true for a user that only has to end. If it were frozen again before that, as each step
   * would do with whoever runs, it could not end (version 1), and the engine would give it up.
   */
  async #isDying(user: User): Promise<boolean> {
    if (!this.#dying.has(user.key)) return false;
    if (await this.#options.control.isDying(user)) return true;
    this.#dying.delete(user.key);
    return false;
  }

  async #tried(user: User, work: () => Promise<'frozen' | 'held' | 'found'>): Promise<void> {
    try {
      const was = await work();
      // A person has paused it since the plan.
      const isPersons =
        was === 'found' && this.#options.state.stopped.get(user.key)?.shown === 'no';
      if (isPersons) this.#update(user.key, { shown: 'persons' });
    } catch (error) {
      const { id, key, process } = user;
      const who = process ? `${process.name} (pid ${process.pid})` : `container ${id ?? key}`;
      for (const volume of user.volumes) {
        this.#options.state.complain(
          volume,
          `${who} can't be kept from writing: ${messageOf(error)}`,
        );
      }
    }
  }

  #throughEngine(action: Action): void {
    if (action.do === 'show') {
      this.#engine.start(action.stopped.user.key, () => this.#show(action.stopped), showPauseMs);
    } else if (action.do === 'release') {
      this.#releases.throughEngine(action.stopped);
    } else if (action.do === 'kill') {
      this.#engine.start(action.user.key, () => this.#kill(action.user));
    } else if (action.do === 'ask') {
      this.#patient.start(`ask ${action.user.key}`, () => this.#ask(action.volume, action.user));
    }
  }

  /**
   * Asks the engine to pause it, unless it shows that already. A container that somebody kills
   * meanwhile (`docker rm -f`) can't end by itself: it is frozen.
   */
  async #show({ user }: StoppedUser): Promise<void> {
    const { state, control } = this.#options;
    if (await control.isBeingKilled(user)) {
      this.#dying.add(user.key);
      return control.letDie(user);
    }
    const shown = state.stopped.get(user.key)?.shown;
    if (!this.#standsStill(user) || shown === 'paused' || shown === 'persons') return;
    this.#update(user.key, { shown: 'asked', isForCopy: undefined });
    state.commit();
    if (await control.show(user)) this.#update(user.key, { shown: 'paused' });
  }

  async #kill(user: User): Promise<void> {
    const { control } = this.#options;
    // Before the kill: an engine forgets what has ended.
    const name = this.#killing.get(user.key) ?? (await control.nameOf(user));
    if (!this.#standsStill(user)) return;
    this.#killing.set(user.key, name);
    await control.kill(user);
  }

  /** Returns false if the user was released since the plan. */
  #standsStill({ key }: User): boolean {
    const stopped = this.#options.state.stopped.get(key);
    return stopped !== undefined && stopped.releasedAtMs === undefined;
  }

  /** Reports the end of a user, if it was killed. */
  #ended(user: User): void {
    const { state, control } = this.#options;
    const { key, id, volumes } = user;
    control.startAgain(user);
    this.#forget(key);
    const name = this.#killing.get(key);
    if (name === undefined) return;
    this.#killing.delete(key);
    for (const { volume, state: lock } of state.volumes) {
      const { killed } = state.fence(volume);
      if (!volumes.includes(volume) || killed.includes(key)) continue;
      state.changeFence(volume, { killed: [...killed, key] });
      state.note('killed', volume, `killed ${name}: ${reasons[lock]}`, id);
    }
  }

  /** Forgets an ended user, unless its engine may still pause it: after a restart it would stay paused. */
  #forget(key: string): void {
    const { state, clock } = this.#options;
    const stopped = state.stopped.get(key);
    // A release waits until all volumes may be used, and nobody says that of one that is not known.
    const isFollowed = stopped?.shown === 'asked' && !stopped.user.volumes.includes(unknownVolume);
    if (!isFollowed) state.removeStopped(key);
    else if (stopped.releasedAtMs === undefined) this.#update(key, { releasedAtMs: clock.now() });
  }

  async #ask({ volume }: WatchedVolume, user: User): Promise<void> {
    const { state, control } = this.#options;
    const asking = control.ask(user, state.watch.graceMs);
    const name = await control.nameOf(user);
    state.note('stopped', volume, `asked ${name} to stop: ${unconfirmed}`, user.id);
    await asking;
  }

  #update(key: string, change: Partial<StoppedUser>): void {
    const { state } = this.#options;
    const current = state.stopped.get(key);
    if (current) state.setStopped({ ...current, ...change });
  }
}

/** Returns how the engine knows a container that was stopped before and is stopped again. */
function shownAgain({ shown, releasedAtMs }: StoppedUser): StoppedUser['shown'] {
  // Whether the engine shows a released container as running is known only when that is confirmed.
  return releasedAtMs !== undefined && shown === 'paused' ? 'asked' : shown;
}

type UserAction = Action & { readonly do: 'stop' | 'hold' | 'kill' };

function isUserAction(action: Action): action is UserAction {
  return action.do === 'stop' || action.do === 'hold' || action.do === 'kill';
}

function isStorageAction(action: Action): action is StorageAction {
  const { do: what } = action;
  return what === 'flush' || what === 'freeze' || what === 'cut off' || what === 'thaw';
}

export const unproven = "this host can't prove any more that it holds the volume";
const unconfirmed = 'the store has not confirmed the lock for some time';

/** Why a container was killed, by the state of the lock. */
const reasons: Record<WatchedVolume['state'], string> = {
  held: unproven,
  unproven,
  lost: 'another host may have the volume now',
  evicted: "an operator cleared the volume's lock",
};
