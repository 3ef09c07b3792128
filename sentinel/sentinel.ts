import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import { Adoption } from './adoption.ts';
import { ClockJump } from './clock-jump.ts';
import { demandOn } from './demand.ts';
import { whyIncomplete } from './incomplete.ts';
import { Looks } from './looks.ts';
import type { Pace } from './pacing.ts';
import { guardedSleepMs, lookEveryMs, measureMs, Pacing, sleepMs } from './pacing.ts';
import { PauseReports } from './pause-reports.ts';
import { Perform } from './perform.ts';
import type { UserView, View, VolumeView } from './plan.ts';
import { areUsersKnown, needsLook, plan } from './plan.ts';
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
import { mayRun, wishFor } from './wish.ts';

const log = createDebug('berth:sentinel');

/** How often the mount of a volume is looked for that has none yet. */
const identifyMs = 250;
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
  readonly #adoption: Adoption;
  readonly #pauses: PauseReports;
  readonly #pacing = new Pacing();
  #incomplete: Record<string, string> = {};
  #stepTookMs = 0;
  #identifiedAtMs = Number.NEGATIVE_INFINITY;
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
    this.#adoption = new Adoption({ state: this.#state, scan, clock });
    this.#pauses = new PauseReports({ state: this.#state, control: this.#control });
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
        fences.map(([{ volume, tenure, mountpoint }, { phase, fs, fencedSinceMs }]) => {
          const hasStopped = stopped.has(volume);
          const times = fencedSinceMs === undefined ? {} : { fencedSinceMs };
          return [volume, { tenure, phase, fs, mountpoint, hasStopped, ...times }]; // tidy-ok: protocol name
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
    await this.#adoption.run(this.#mountedVolumes);
    while (!signal.aborted) {
      this.#pause = new AbortController();
      let pauseMs = guardedSleepMs;
      try {
        pauseMs = await this.#step();
      } catch (error) {
        log('ERROR %O', error);
      }
      await clock.sleep(pauseMs, this.#pause.signal);
    }
    signal.removeEventListener('abort', wake);
  }

  /** Ends the pause between two steps, or the one that follows the step in progress. */
  #wake(): void {
    // With a reason of its own: the signal would make an error with a stack for each call.
    this.#pause.abort('wake');
  }

  /** Makes one step; resolves to the milliseconds until the next. */
  async #step(): Promise<number> {
    const { clock } = this.#options;
    const beganAtMs = clock.now();
    this.#noticeJump();
    if (this.#adoption.isDue(beganAtMs)) await this.#adoption.run(this.#mountedVolumes);
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
    this.#pauses.expect(actions, volumes);
    await this.#perform.all(actions);
    this.#report(view);
    const pace = this.#pacing.of(volumes, this.#state.stopped.size > 0, clock.now());
    this.#look(view, pace);
    if (actions.some((action) => action.do === 'stop')) {
      this.#stepTookMs = Math.max(clock.now() - beganAtMs, this.#stepTookMs / 2);
    }
    return sleepMs(pace, volumes, this.#wishTimes());
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

  get #mountedVolumes(): MountedVolume[] {
    return this.#state.volumes.map(this.#mounted);
  }

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

  #mayRun(user: User): boolean {
    const views = this.#volumeViews();
    const byName = new Map(views.map((view) => [view.watched.volume, view]));
    return demandOn(user, byName) === 'run' && areUsersKnown(views, this.#looks.last);
  }

  /** Begins a look if one is due; a look when time is short only if it can complete a fence. */
  #look(view: View, pace: Pace): void {
    const { volumes } = view;
    if (volumes.length === 0) return;
    const near = volumes.filter(({ wish, fence }) => wish !== 'run' || fence.phase !== 'running');
    const measures = near.length === 0;
    const isNeeded = near.some((each) => !mayRun(each.wish) && needsLook(each, view));
    const pauseMs = measures ? measureMs : isNeeded ? 0 : lookEveryMs(pace, this.#looks.lastMs);
    // For all volumes: the next deadline may be another volume's, and only the last look's users are known.
    this.#looks.begin(this.#mountedVolumes, { pauseMs, measures }, () => this.#wake());
  }

  /** Reports pauses that are seen for the first time, and what keeps a volume from being fenced. */
  #report(view: View): void {
    for (const each of view.users) this.#pauses.report(each, view.now);
    const incomplete: Record<string, string> = {};
    for (const volume of view.volumes) {
      const reason = whyIncomplete(volume, view, this.#looks.failure);
      if (!reason) continue;
      incomplete[volume.watched.volume] = reason.message;
      if (reason.isLasting && volume.wish !== 'copy')
        this.#state.complain(volume.watched.volume, reason.message);
    }
    this.#incomplete = incomplete;
    this.#state.commit();
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
}
