import { messageOf } from '../lib/running/message-of.ts';
import type { Action, StorageAction } from './plan.ts';
import type { FileSystems, MachineClock, User } from './ports.ts';
import type { SentinelState } from './state.ts';
import type { StoppedUser } from './stopped-user.ts';
import { Tasks } from './tasks.ts';
import type { UserControl } from './user-control.ts';
import type { VolumeFence } from './volume-fence.ts';
import type { WatchedVolume } from './watch.ts';

/** An engine that hung may still carry out an old pause request: keep checking this long. */
const latePauseMs = 5_000;
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
 * users, then it holds them; whatever may take long goes on in the background.
 */
export class Perform {
  readonly #options: PerformOptions;
  readonly #engine: Tasks;
  /** Tasks that may take for ever, so that nothing waits for a place among them. */
  readonly #patient: Tasks;

  /** The names of users that were killed and have not been seen to have ended. */
  readonly #killing = new Map<string, string>();
  /** The keys of users that somebody else has killed, and that were thawed so that they can end. */
  readonly #dying = new Set<string>();

  constructor(options: PerformOptions) {
    this.#options = options;
    const { clock, changed } = options;
    this.#engine = new Tasks(engineTasks, clock, changed);
    this.#patient = new Tasks(Number.POSITIVE_INFINITY, clock, changed);
  }

  async all(actions: readonly Action[]): Promise<void> {
    const { state } = this.#options;
    for (const action of actions) this.#intend(action);
    state.commit();
    // Storage goes first: a frozen file system stops every writer, however it got there.
    for (const action of actions) this.#onStorage(action);
    for (const action of actions) {
      if (action.do === 'stop') await this.#freeze(action.user);
      // With version 1 of control groups a process that is killed ends only while it is not frozen.
      const isToFreeze = action.do === 'kill' && !this.#killing.has(action.user.key);
      if (isToFreeze) await this.#freeze(action.user);
    }
    for (const action of actions) {
      if (action.do === 'stop' || action.do === 'hold') await this.#hold(action.user);
    }
    for (const action of actions) this.#throughEngine(action);
    state.commit();
  }

  #intend(action: Action): void {
    const { state } = this.#options;
    if (action.do === 'enter') state.changeFence(action.volume, action.change);
    else if (action.do === 'forget') this.#ended(action.user);
    else if (action.do === 'flush') this.#enterFs(action.volume, 'flushing');
    else if (action.do === 'freeze') {
      if (this.#fs(action.volume) !== 'freezing') this.#enterFs(action.volume, 'freezing');
    } else if (action.do === 'stop' || action.do === 'kill') {
      const known = state.stopped.get(action.user.key);
      const isKnown = known !== undefined && known.releasedAtMs === undefined;
      const shown = isKnown ? known.shown : action.wasPaused ? 'persons' : 'no';
      state.setStopped({ user: action.user, shown });
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

  async #tried(user: User, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const { id, key, process } = user;
      const who = process ? `${process.name} (pid ${process.pid})` : `container ${id ?? key}`;
      for (const volume of user.volumes) {
        this.complain(volume, `${who} can't be kept from writing: ${messageOf(error)}`);
      }
    }
  }

  #onStorage(action: Action): void {
    if (action.do === 'flush') this.#beside(action, () => this.#flush(action.volume));
    else if (action.do === 'freeze') this.#beside(action, () => this.#freezeFs(action.volume));
    else if (action.do === 'thaw') this.#beside(action, () => this.#thaw(action.volume));
    else if (action.do === 'cut off') this.#beside(action, () => this.#cutOff(action.volume));
  }

  #beside({ do: what, volume }: StorageAction, work: () => Promise<void>): void {
    // A freeze and a thaw must not overtake each other.
    const key = what === 'thaw' ? 'freeze' : what;
    this.#patient.start(`${key} ${volume.volume}`, work);
  }

  async #thaw(volume: WatchedVolume): Promise<void> {
    const { fileSystems } = this.#options;
    await this.#onFs(volume, "can't be thawed", () => fileSystems.thaw(volume));
    const fs = this.#fs(volume);
    if (fs === 'frozen' || fs === 'freezing') this.#enterFs(volume, 'open');
  }

  async #flush(volume: WatchedVolume): Promise<void> {
    await this.#onFs(volume, "can't be written back", () =>
      this.#options.fileSystems.flush(volume),
    ).catch(() => {
      // It was reported; the freeze writes back, too.
    });
    if (this.#fs(volume) === 'flushing') this.#enterFs(volume, 'open');
  }

  async #freezeFs(volume: WatchedVolume): Promise<void> {
    const { fileSystems } = this.#options;
    try {
      await this.#onFs(volume, "can't be frozen", () => fileSystems.freeze(volume));
    } catch (error) {
      if (this.#fs(volume) === 'freezing') this.#enterFs(volume, 'open');
      throw error;
    }
    if (this.#fs(volume) === 'freezing') {
      this.#enterFs(volume, 'frozen');
      this.#late(volume, 'frozen');
    } else if (this.#fs(volume) === 'cut-off') {
      // It was shut down meanwhile; processes that wait in it can die only after a thaw.
      await fileSystems.thaw(volume);
    }
  }

  async #cutOff(volume: WatchedVolume): Promise<void> {
    const { fileSystems } = this.#options;
    await this.#onFs(volume, "can't be shut down", () => fileSystems.cutOff(volume));
    if (!volume.ownsFileSystem) return;
    this.#enterFs(volume, 'cut-off');
    if (volume.state !== 'lost') {
      this.#late(volume, 'shut down, because it was not frozen: what was not synced is lost,');
    }
  }

  /** Reports a file system that was still being written after the deadline. */
  #late(volume: WatchedVolume, what: string): void {
    const { state, clock } = this.#options;
    const lateMs = Math.round(clock.now() - (volume.deadlineMs ?? 0));
    if (volume.deadlineMs === undefined || lateMs <= 0) return;
    state.note(
      'failed',
      volume.volume,
      `its file system was ${what} ${lateMs} ms AFTER the deadline`,
    );
  }

  async #onFs(volume: WatchedVolume, what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.complain(volume.volume, `its file system ${what}: ${messageOf(error)}`);
      throw error;
    }
  }

  #throughEngine(action: Action): void {
    if (action.do === 'show') {
      this.#engine.start(action.stopped.user.key, () => this.#show(action.stopped), showPauseMs);
    } else if (action.do === 'release') {
      this.#engine.start(action.stopped.user.key, () => this.#release(action.stopped));
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
  async #show({ user, shown }: StoppedUser): Promise<void> {
    const { state, control } = this.#options;
    if (await control.isBeingKilled(user)) {
      this.#dying.add(user.key);
      return control.letDie(user);
    }
    if (shown === 'paused' || shown === 'persons') return;
    this.#update(user.key, { shown: 'asked' });
    state.commit();
    if (await control.show(user)) this.#update(user.key, { shown: 'paused' });
  }

  async #release(stopped: StoppedUser): Promise<void> {
    const { state, control, clock, mayRun } = this.#options;
    const { user, shown, releasedAtMs } = stopped;
    // A lock may be lost while the engine is asked.
    const isWanted = () => state.stopped.get(user.key) === stopped && mayRun(user);
    const isConfirmed = await control.release(user, shown === 'persons', isWanted);
    if (!isConfirmed || !isWanted()) return;
    if (shown !== 'asked') state.removeStopped(user.key);
    else if (releasedAtMs === undefined) this.#update(user.key, { releasedAtMs: clock.now() });
    else if (clock.now() - releasedAtMs > latePauseMs) state.removeStopped(user.key);
    if (shown === 'persons' || releasedAtMs !== undefined) return;
    const name = await control.nameOf(user);
    const message = `resumed ${name}: this host holds the volume`;
    for (const volume of user.volumes) state.note('resumed', volume, message, user.id);
  }

  async #kill(user: User): Promise<void> {
    const { control } = this.#options;
    // Before the kill: an engine forgets what has ended.
    const name = this.#killing.get(user.key) ?? (await control.nameOf(user));
    this.#killing.set(user.key, name);
    await control.kill(user);
  }

  /** Reports the end of a user, if it was killed. */
  #ended({ key, id, volumes }: User): void {
    const { state } = this.#options;
    state.removeStopped(key);
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

  async #ask({ volume }: WatchedVolume, user: User): Promise<void> {
    const { state, control } = this.#options;
    const asking = control.ask(user, state.watch.graceMs);
    const name = await control.nameOf(user);
    state.note('stopped', volume, `asked ${name} to stop: ${unconfirmed}`, user.id);
    await asking;
  }

  /** Reports a failure once, until another one follows. */
  complain(volume: string, message: string): void {
    const { state } = this.#options;
    if (state.fence(volume).complaint === message) return;
    state.changeFence(volume, { complaint: message });
    state.note('failed', volume, message);
  }

  #update(key: string, change: Partial<StoppedUser>): void {
    const { state } = this.#options;
    const current = state.stopped.get(key);
    if (current) state.setStopped({ ...current, ...change });
  }

  #fs({ volume }: WatchedVolume): VolumeFence['fs'] {
    return this.#options.state.fence(volume).fs;
  }

  #enterFs({ volume }: WatchedVolume, fs: VolumeFence['fs']): void {
    const { state, clock } = this.#options;
    state.changeFence(volume, { fs, fsSinceMs: clock.now() });
  }
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
