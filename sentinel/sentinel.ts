import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import { messageOf } from '../lib/running/message-of.ts';
import { ClockJump } from './clock-jump.ts';
import { whyIncomplete } from './incomplete.ts';
import { Looks } from './looks.ts';
import { Perform, unproven } from './perform.ts';
import type { UserView, View, VolumeView } from './plan.ts';
import { areUsersKnown, demandOn, needsLook, plan, unknownVolume } from './plan.ts';
import type {
  EngineCalls,
  FileSystems,
  MachineClock,
  MountedVolume,
  StateFile,
  Stops,
  User,
  UserScan,
} from './ports.ts';
import { SentinelState } from './state.ts';
import { UserControl } from './user-control.ts';
import { UserViews } from './user-views.ts';
import type { ChangeReport, SentinelReport, Watch, WatchChange, WatchedVolume } from './watch.ts';
import { protocolVersion } from './watch.ts';
import type { WishTimes } from './wish.ts';
import { mayRun, quietMs, wishFor } from './wish.ts';

const log = createDebug('berth:sentinel');

/** The pause between two steps while a deadline is near. */
const guardedSleepMs = 50;
/** The longest pause while all users run and no deadline is near. */
const longestSleepMs = 1_000;
/** The same while users stand still: `docker exec` may start a process in one. */
const fencedSleepMs = 100;
/** The pause between two steps while users are being stopped. */
const stoppingSleepMs = 5;
/** A stop that takes longer than this waits for something: it is looked at less often. */
const longStopMs = 3_000;
/** The pause while nothing is watched. */
const idleSleepMs = 250;
/** How often users are looked for while a deadline is near, or has passed. */
const lookPauseMs: Record<Pace, number> = {
  idle: 500,
  guarding: 500,
  stopping: 500,
  waiting: 500,
  fenced: 1_000,
};
/** How often users are looked for while no deadline is near: this measures how long a look takes. */
const measureMs = 60_000;
/** How often the mount of a volume is looked for that has none yet. */
const identifyMs = 250;
/** How often the volumes are looked for of users that an earlier sentinel holds: it is a whole scan. */
const adoptMs = 1_000;
/** A freeze may take half the margin beyond its deadline, but at most this long. */
const longestFreezeMs = 1_000;

export interface SentinelOptions {
  readonly scan: UserScan;
  readonly stops: Stops;
  readonly engine: EngineCalls;
  readonly fileSystems: FileSystems;
  readonly clock: MachineClock;
  readonly file: StateFile;
  /** The boot that deadlines and the state file belong to. */
  readonly bootId: string;
}

/** A change is for another state than this sentinel is in; nothing was changed. */
export class StaleBaseError extends Error {
  override readonly name = 'StaleBaseError';
}

/**
 * Keeps this host from writing to volumes that it may have lost. The sentinel knows only volumes
 * and deadlines. The daemon moves the deadlines while the store confirms the locks; a daemon that is
 * dead, frozen or cut off moves no deadline, and the sentinel acts.
 *
 * One loop: read how everybody stands, plan (plan.ts), write what is about to happen, do it
 * (perform.ts). Looking for users and all work on storage and engines goes on beside the loop.
 */
export class Sentinel {
  readonly #options: SentinelOptions;
  readonly #state: SentinelState;
  readonly #control: UserControl;
  readonly #perform: Perform;
  readonly #looks: Looks;
  readonly #jump: ClockJump;
  readonly #users: UserViews;
  /** The keys of users whose pause is not reported yet, with the volumes for which they were stopped. */
  readonly #unreported = new Map<string, readonly VolumeView[]>();
  #incomplete: Record<string, string> = {};
  #stepTookMs = 0;
  #identifiedAtMs = Number.NEGATIVE_INFINITY;
  #adoptedAtMs = Number.NEGATIVE_INFINITY;
  /** False until it is known whom an earlier sentinel holds. */
  #hasAdopted = false;
  /** The time when users began to be stopped who are not all stopped yet. */
  #stoppingSinceMs: number | undefined;
  #toldAtMs: number;
  /** Tells this process from others, and its states one from another: see `PATCH /watch`. */
  readonly #nonce = randomUUID();
  #changes = 0;
  /** Aborts to end the pause between two steps. */
  #pause = new AbortController();

  constructor(options: SentinelOptions) {
    const { file, bootId, clock, stops, engine, fileSystems, scan } = options;
    this.#options = options;
    this.#state = new SentinelState(file, bootId, clock);
    this.#control = new UserControl(stops, engine, clock);
    this.#looks = new Looks(scan, clock);
    this.#jump = new ClockJump(clock, this.#state.clockNews);
    this.#toldAtMs = clock.now();
    this.#perform = new Perform({
      ...{ state: this.#state, control: this.#control, fileSystems, clock },
      mayRun: (user) => this.#mayRun(user),
      changed: () => this.#wake(),
    });
    this.#users = new UserViews({
      ...{ control: this.#control, clock },
      complain: (volume, message) => this.#state.complain(volume, message),
    });
  }

  /** Takes a watch of the daemon. It is in the state file when this returns. */
  told(watch: Watch): SentinelReport {
    this.#changes += 1;
    this.#state.update(watch, this.#jump.news);
    this.#toldAtMs = this.#options.clock.now();
    this.#identifiedAtMs = Number.NEGATIVE_INFINITY;
    this.#wake();
    return this.report(Math.min(watch.protocol, protocolVersion));
  }

  /** Changes the last watch. The change is in the state file when this returns. */
  changed(change: WatchChange): ChangeReport {
    if (change.base !== this.#base) {
      throw new StaleBaseError('this sentinel has another watch than the change is for');
    }
    this.#changes += 1;
    this.#state.change(change);
    this.#toldAtMs = this.#options.clock.now();
    // Nothing has to be done about a mount that has ended.
    if (change.volumes.length > 0) this.#wake();
    return { base: this.#base, leadMs: this.#leadFor(this.#looks.usualMs) };
  }

  get #base(): string {
    return `${this.#nonce} ${this.#changes}`;
  }

  report(protocol = protocolVersion): SentinelReport {
    const { volumes, reported } = this.#state;
    const fences = volumes.map((each) => [each, this.#state.fence(each.volume)] as const);
    const isOver = (phase: string) => phase === 'fenced' || phase === 'ended';
    const report = {
      protocolVersion: protocol,
      pid: process.pid,
      volumes: Object.fromEntries(
        fences.map(([{ volume }, { phase }]) => [volume, isOver(phase) ? phase : 'running']),
      ),
      happenings: reported,
    } as SentinelReport;
    if (protocol < 2) return report;
    const stopped = new Set([...this.#state.stopped.values()].flatMap(({ user }) => user.volumes));
    return {
      ...report,
      watched: Object.fromEntries(
        // tidy-ok: protocol name
        fences.map(([{ volume, tenure, mountpoint }, { phase, fs }]) => {
          const hasStopped = stopped.has(volume);
          return [volume, { tenure, phase, fs, mountpoint, hasStopped }]; // tidy-ok: protocol name
        }),
      ),
      leadMs: this.#leadFor(this.#looks.usualMs),
      incomplete: this.#incomplete,
      base: this.#base,
    };
  }

  /** The process ID of the daemon that gave the last watch; undefined if it did not say it. */
  get daemonPid(): number | undefined {
    return this.#state.watch.daemonPid;
  }

  /** Milliseconds since the daemon's last word, if nothing is watched or stopped; else 0. */
  get idleMs(): number {
    const isIdle = this.#state.volumes.length === 0 && this.#state.stopped.size === 0;
    return isIdle ? this.#options.clock.now() - this.#toldAtMs : 0;
  }

  /** Fences until the signal aborts, and leaves everything as it is then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const wake = () => this.#wake();
    signal.addEventListener('abort', wake);
    await this.#adopt();
    while (!signal.aborted) {
      this.#pause = new AbortController();
      let sleepMs = guardedSleepMs;
      try {
        sleepMs = await this.#step();
      } catch (error) {
        log('ERROR %O', error);
      }
      await clock.sleep(sleepMs, this.#pause.signal);
    }
    signal.removeEventListener('abort', wake);
  }

  /** Ends the pause between two steps, or the one that follows the step in progress. */
  #wake(): void {
    // With a reason of its own: the signal would make an error with a stack for each call.
    this.#pause.abort('wake');
  }

  /** Takes over whom an earlier sentinel holds: its state may be lost. */
  async #adopt(): Promise<void> {
    this.#adoptedAtMs = this.#options.clock.now();
    try {
      for (const user of await this.#options.scan.held(this.#state.volumes.map(this.#mounted))) {
        const known = this.#state.stopped.get(user.key);
        if (known && !known.user.volumes.includes(unknownVolume)) continue;
        const volumes = user.volumes.length > 0 ? user.volumes : [unknownVolume];
        this.#state.setStopped({ user: { ...user, volumes }, shown: 'asked' });
        if (!known) log('container %s stands still for an earlier sentinel', user.id ?? user.key);
      }
      this.#hasAdopted = true;
    } catch (error) {
      log('ERROR what an earlier sentinel holds is not known: %s', messageOf(error));
    }
    this.#state.commit();
  }

  /** Makes one step; resolves to the milliseconds until the next. */
  async #step(): Promise<number> {
    const { clock } = this.#options;
    const beganAtMs = clock.now();
    this.#noticeJump();
    const isUnknown = [...this.#state.stopped.values()].some(({ user }) =>
      user.volumes.includes(unknownVolume),
    );
    const mayAdopt = isUnknown || !this.#hasAdopted;
    if (mayAdopt && beganAtMs - this.#adoptedAtMs >= adoptMs) await this.#adopt();
    await this.#identify(beganAtMs);
    const volumes = this.#volumeViews();
    // Read once: another look may end meanwhile, whose users were not read.
    const look = this.#looks.last;
    const view: View = {
      now: clock.now(),
      volumes,
      users: (await this.#users.read(volumes, this.#looks.users, this.#state.stopped)).map(
        this.#remembered,
      ),
      look,
      freezeLimitMs: Math.min(longestFreezeMs, this.#state.watch.marginMs / 2 || longestFreezeMs),
      distrustedBeforeMs: this.#jump.news.distrustedBeforeMs,
      fenceHostProcesses: this.#state.watch.fenceHostProcesses,
    };
    const actions = plan(view);
    for (const action of actions) {
      if (action.do !== 'stop' || action.wasPaused) continue;
      const names = action.user.volumes;
      const still = volumes.filter(({ watched, wish }) => {
        return names.includes(watched.volume) && wish === 'stand-still';
      });
      this.#unreported.set(action.user.key, still);
    }
    await this.#perform.all(actions);
    this.#report(view);
    const pace = this.#pace(volumes);
    this.#look(view, pace);
    if (actions.some((action) => action.do === 'stop')) {
      this.#stepTookMs = Math.max(clock.now() - beganAtMs, this.#stepTookMs / 2);
    }
    return this.#sleepMs(pace, volumes);
  }

  /** A later look may find that a stopped user uses more volumes: none of them may be forgotten. */
  readonly #remembered = (view: UserView): UserView => {
    const { user, stopped } = view;
    if (!stopped || user.volumes.length === stopped.user.volumes.length) return view;
    const grown = { ...stopped, user };
    this.#state.setStopped(grown);
    return { ...view, stopped: grown };
  };

  #noticeJump(): void {
    const { clock } = this.#options;
    const jumpedMs = this.#jump.read();
    const { ttlMs, marginMs } = this.#state.watch;
    if (jumpedMs === 0 || ttlMs === 0) return;
    // Only a renewal that was sent after the jump proves anything; its deadline is at least this.
    this.#jump.distrust(clock.now() + ttlMs - marginMs);
    log('WARNING the time of day has jumped by %d ms: waiting for the store', jumpedMs);
    for (const { volume } of this.#state.volumes) {
      const message = `the clock has jumped by ${Math.round(jumpedMs)} ms: its users stand still until the store confirms the lock again`;
      this.#state.note('paused', volume, message);
    }
  }

  /** Records what is mounted: containers may still have it when this host has not any more. */
  async #identify(now: number): Promise<void> {
    if (now - this.#identifiedAtMs < identifyMs) return;
    this.#identifiedAtMs = now;
    const unknown = this.#state.volumes.filter(({ volume }) => {
      return this.#state.fence(volume).identity === undefined;
    });
    if (unknown.length === 0) return;
    const paths = unknown.map(({ mountpoint }) => mountpoint);
    const identities = await this.#options.scan.identitiesAt(paths);
    for (const { volume, mountpoint } of unknown) {
      const identity = identities.get(mountpoint);
      if (identity) this.#state.changeFence(volume, { identity });
    }
  }

  readonly #mounted = ({ volume, mountpoint }: WatchedVolume): MountedVolume => {
    return { volume, mountpoint, identity: this.#state.fence(volume).identity };
  };

  #wishTimes(): WishTimes {
    const { graceMs, ttlMs, leadMs } = this.#state.watch;
    return {
      ...{ now: this.#options.clock.now(), leadMs: this.#leadMs(), graceMs },
      prepareMs: ttlMs > 0 ? ttlMs / 5 : 2 * leadMs,
      distrustedBeforeMs: this.#jump.news.distrustedBeforeMs,
    };
  }

  #volumeViews(): VolumeView[] {
    const times = this.#wishTimes();
    return this.#state.volumes.map((watched) => {
      const fence = this.#state.fence(watched.volume);
      return { watched, fence, wish: wishFor(watched, fence, times) };
    });
  }

  #pace(volumes: readonly VolumeView[]): Pace {
    const isStopping = volumes.some(({ wish, fence: { phase } }) => {
      return wish === 'end' ? phase !== 'ended' : wish === 'stand-still' && phase !== 'fenced';
    });
    const now = this.#options.clock.now();
    this.#stoppingSinceMs = isStopping ? (this.#stoppingSinceMs ?? now) : undefined;
    if (this.#stoppingSinceMs !== undefined) {
      return now - this.#stoppingSinceMs < longStopMs ? 'stopping' : 'waiting';
    }
    if (this.#state.stopped.size > 0) return 'fenced';
    return volumes.length > 0 ? 'guarding' : 'idle';
  }

  #mayRun(user: User): boolean {
    const views = this.#volumeViews();
    const byName = new Map(views.map((view) => [view.watched.volume, view]));
    return demandOn(user, byName) === 'run' && areUsersKnown(views, this.#looks.last);
  }

  /** Begins a look if one is due; a look when time is short only if it can complete a fence. */
  #look(view: View, pace: Pace): void {
    const { volumes } = view;
    const near = volumes.filter(({ wish, fence }) => wish !== 'run' || fence.phase !== 'running');
    const wanted = near.length > 0 ? near : volumes;
    if (wanted.length === 0) return;
    const measures = near.length === 0;
    const isNeeded = near.some((each) => !mayRun(each.wish) && needsLook(each, view));
    const pauseMs = measures ? measureMs : isNeeded ? 0 : lookPauseMs[pace];
    const mounted = wanted.map(({ watched }) => this.#mounted(watched));
    this.#looks.begin(mounted, { pauseMs, measures }, () => this.#wake());
  }

  /** Reports pauses that are seen for the first time, and what keeps a volume from being fenced. */
  #report(view: View): void {
    for (const each of view.users) this.#reportPause(each, view.now);
    const incomplete: Record<string, string> = {};
    for (const volume of view.volumes) {
      const reason = whyIncomplete(volume, view, this.#looks.failure);
      if (!reason) continue;
      incomplete[volume.watched.volume] = reason.message;
      if (reason.isLasting) this.#state.complain(volume.watched.volume, reason.message);
    }
    this.#incomplete = incomplete;
    this.#state.commit();
  }

  #reportPause({ user, standing, stopped }: UserView, now: number): void {
    const paused = this.#unreported.get(user.key);
    const isStopping = standing.is === 'running' || standing.is === 'freezing';
    if (paused === undefined || (isStopping && stopped !== undefined)) return;
    this.#unreported.delete(user.key);
    if (standing.is === 'ended') return;
    void this.#control.nameOf(user).then((name) => {
      for (const { watched } of paused) {
        const leftMs = Math.round((watched.deadlineMs ?? 0) - now);
        const isLate = leftMs < 0 && watched.deadlineMs !== undefined;
        const when = isLate ? `${-leftMs} ms AFTER` : `${leftMs} ms before`;
        const message = `paused ${name} ${when} the deadline: ${unproven}`;
        this.#state.note('paused', watched.volume, message, user.id);
      }
    });
  }

  /** How long before a deadline the stop has to begin: a look before it, a look after it. */
  #leadFor(lookMs: number): number {
    return Math.round(Math.max(this.#state.watch.leadMs, 2 * lookMs + 2 * this.#stepTookMs + 50));
  }

  /** The lead in use; renewals must come in between. */
  #leadMs(): number {
    const { ttlMs, marginMs, leadMs } = this.#state.watch;
    if (ttlMs === 0) return leadMs;
    const longest = ttlMs - marginMs - ttlMs / 3 - ttlMs / 5;
    return Math.max(leadMs, Math.min(this.#leadFor(this.#looks.lastMs), longest));
  }

  #sleepMs(pace: Pace, volumes: readonly VolumeView[]): number {
    if (pace === 'stopping') return stoppingSleepMs;
    if (pace === 'fenced') return fencedSleepMs;
    if (pace === 'idle') return idleSleepMs;
    return pace === 'guarding' ? this.#guardMs(volumes) : guardedSleepMs;
  }

  /** Returns the time until something is due; news of the daemon and jumps of a clock come before. */
  #guardMs(volumes: readonly VolumeView[]): number {
    const areQuiet = volumes.every(({ wish, fence: { phase, fs, identity } }) => {
      return wish === 'run' && phase === 'running' && fs === 'open' && identity !== undefined;
    });
    if (!areQuiet) return guardedSleepMs;
    const times = this.#wishTimes();
    const dueMs = volumes.map(({ watched }) => quietMs(watched, times));
    return Math.max(1, Math.min(longestSleepMs, ...dueMs));
  }
}

/**
 * How often to look, by what goes on: nothing is watched; all users run; users are being stopped;
 * the same for long, as something has to wake first; all that should stand still do.
 */
type Pace = 'idle' | 'guarding' | 'stopping' | 'waiting' | 'fenced';
