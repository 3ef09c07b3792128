import createDebug from 'debug';
import type { Clock } from '../lib/running/clock.ts';
import { messageOf } from '../lib/running/message-of.ts';
import type { ContainerActions } from './container-actions.ts';
import type { Container, MountedVolume } from './container-scan.ts';
import { containersUsing, identityAt } from './container-scan.ts';
import { cutOff, flush, makeStill, thawFileSystem } from './file-systems.ts';
import type { SentinelState } from './state.ts';
import type { VolumeFence } from './volume-fence.ts';
import type { Happening, SentinelReport, Watch, WatchedVolume } from './watch.ts';
import { protocolVersion } from './watch.ts';

const log = createDebug('berth:sentinel');

/** The longest pause between two steps: timers are late on a machine that wakes from suspend. */
const longestSleepMs = 250;
/** The longest pause while containers stand still: `docker exec` may start a process in one. */
const fencedSleepMs = 100;
/** Start writing back dirty pages this long before the fence deadline. */
const prepareMs = 2_000;
/** A recovered engine may still carry out an old pause request: keep checking this long. */
const latePauseMs = 5_000;
const keptHappenings = 200;

/** The wanted behaviour of the containers that use a volume. */
type Wish = 'run' | 'prepare' | 'stop' | 'stand-still' | 'end';

export interface SentinelOptions {
  readonly state: SentinelState;
  readonly actions: ContainerActions;
  /** Milliseconds since boot: the clock of the deadlines, which the daemon reads, too. */
  readonly now: () => number;
  readonly clock: Clock;
}

/**
 * Keeps this host from writing to volumes that it may have lost. The sentinel knows only volumes
 * and deadlines. The daemon moves the deadlines while the store confirms the locks; a daemon that is
 * dead, frozen or cut off moves no deadline, and the sentinel acts.
 *
 * One loop compares what the containers should be doing with what they do. Each step is idempotent
 * and is repeated until its result is seen. The state file is written before each action, so the
 * sentinel may be killed at any line.
 */
export class Sentinel {
  readonly #options: SentinelOptions;
  /** Aborts to end the pause between two steps. */
  #pause = new AbortController();
  #toldAt = 0;
  /** IDs of containers that stand still and that the engine is now asked to pause. */
  readonly #showing = new Set<string>();

  constructor(options: SentinelOptions) {
    this.#options = options;
    this.#toldAt = options.now();
  }

  /** Takes a new watch from the daemon. It is in the state file when this returns. */
  told(watch: Watch): SentinelReport {
    const { state, now } = this.#options;
    state.update(watch);
    this.#toldAt = now();
    this.#pause.abort();
    return this.report();
  }

  report(): SentinelReport {
    const { state } = this.#options;
    const volumes = state.volumes.map(({ volume }) => [volume, state.fence(volume).state] as const);
    return {
      protocolVersion,
      pid: process.pid,
      volumes: Object.fromEntries(volumes),
      happenings: state.happenings.slice(-keptHappenings),
    };
  }

  /** Milliseconds since the daemon's last word, if nothing is watched or paused; else 0. */
  get idleMs(): number {
    const { state, now } = this.#options;
    return state.volumes.length === 0 && state.paused.length === 0 ? now() - this.#toldAt : 0;
  }

  /** Fences until the signal aborts, and leaves everything as it is then. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#step();
      } catch (error) {
        log('ERROR %O', error);
      }
      this.#pause = new AbortController();
      await this.#options.clock.sleep(this.#sleepMs(), this.#pause.signal);
    }
  }

  async #step(): Promise<void> {
    const { state } = this.#options;
    const wishes = new Map(state.volumes.map((volume) => [volume, this.#wishFor(volume)]));
    const withWish = (...wanted: Wish[]) =>
      [...wishes].flatMap(([volume, wish]) => (wanted.includes(wish) ? [volume] : []));
    await this.#identify(state.volumes);
    await this.#fence(withWish('stand-still'), withWish('end'));
    await this.#ask(withWish('stop'));
    for (const volume of withWish('prepare', 'stop')) this.#flushEarly(volume);
    await this.#release(withWish('run', 'prepare', 'stop'));
  }

  /** Records what is mounted: containers may still have it when this host has not any more. */
  async #identify(volumes: readonly WatchedVolume[]): Promise<void> {
    const { state } = this.#options;
    for (const volume of volumes) {
      if (state.fence(volume.volume).identity) continue;
      const identity = await identityAt(volume.mountpoint);
      if (identity) this.#change(volume, { identity });
    }
  }

  #mounted({ volume, mountpoint }: WatchedVolume): MountedVolume {
    return { volume, mountpoint, identity: this.#options.state.fence(volume).identity };
  }

  #wishFor(volume: WatchedVolume): Wish {
    const { state, now } = this.#options;
    if (volume.state === 'lost' || volume.state === 'evicted') return 'end';
    const leftMs = (volume.deadlineMs ?? 0) - state.leadMs - now();
    if (leftMs <= 0) return 'stand-still';
    if (volume.onLost === 'stop' && leftMs <= state.graceMs) return 'stop';
    return leftMs <= prepareMs ? 'prepare' : 'run';
  }

  async #fence(still: readonly WatchedVolume[], ending: readonly WatchedVolume[]): Promise<void> {
    const all = [...still, ...ending];
    if (all.length === 0) return;
    const containers = await containersUsing(all.map((volume) => this.#mounted(volume)));
    const work = all.map(async (volume) => {
      if (volume.state === 'lost') await this.#cutOff(volume);
      const kills = ending.includes(volume) || volume.onLost === 'stop';
      const users = containers.filter(({ volumes }) => volumes.includes(volume.volume));
      const done = await Promise.all(users.map((user) => this.#act(volume, user, kills)));
      if (!done.every(Boolean)) return;
      if (ending.includes(volume)) this.#change(volume, { state: 'ended' });
      else this.#fenced(volume);
    });
    await Promise.all(work);
  }

  /** Returns true when the container can't write any more. */
  async #act(volume: WatchedVolume, container: Container, kills: boolean): Promise<boolean> {
    const { state, actions } = this.#options;
    try {
      if (kills) {
        const name = actions.nameOf(container); // Before the kill: an engine forgets what has ended.
        const hasEnded = await actions.kill(container);
        if (hasEnded) this.#killed(volume, container, await name);
        return hasEnded;
      }
      if (await actions.standsStill(container)) {
        if (await actions.isBeingKilled(container)) await actions.kill(container);
        else this.#showPaused(container.id);
        return true;
      }
      const known = state.paused.find(({ id }) => id === container.id);
      if (known && known.resumedAtMs === undefined) {
        await actions.hold(container); // A process was started in it meanwhile.
        return true;
      }
      const isUsers = await actions.isPaused(container);
      state.setPaused({ ...container, isUsers, isUncertain: !isUsers });
      if (isUsers) {
        await actions.hold(container);
        return true;
      }
      const byEngine = await actions.pause(container, Math.round(state.leadMs / 2));
      if (byEngine) state.setPaused({ ...container, isUsers, isUncertain: false });
      const when = this.#when(volume);
      this.#note('paused', volume, `paused container ${await actions.nameOf(container)} ${when}`);
      return true;
    } catch (error) {
      const why = messageOf(error);
      this.#failed(volume, `container ${container.id} can't be kept from writing: ${why}`);
      return false;
    }
  }

  /** Asks the engine in the background to pause it, so that `docker ps` shows the pause. */
  #showPaused(id: string): void {
    const { state, actions } = this.#options;
    const find = () => state.paused.find((container) => container.id === id);
    const container = find();
    if (!container?.isUncertain || container.resumedAtMs !== undefined) return;
    if (this.#showing.has(id)) return;
    this.#showing.add(id);
    void actions.pauseByEngine(container).then((isPaused) => {
      this.#showing.delete(id);
      const current = find();
      if (isPaused && current) state.setPaused({ ...current, isUncertain: false });
    });
  }

  #when({ deadlineMs }: WatchedVolume): string {
    const leftMs = (deadlineMs ?? 0) - this.#options.now();
    const when = leftMs < 0 ? `${-leftMs} ms AFTER` : `${leftMs} ms before`;
    return `${when} the deadline: ${unproven}`;
  }

  #fenced(volume: WatchedVolume): void {
    const { state } = this.#options;
    const fence = state.fence(volume.volume);
    if (fence.state !== 'fenced') {
      log('fenced volume=%s', volume.volume);
      state.setFence(volume.volume, { ...fence, state: 'fenced' });
    }
    if (volume.onLost !== 'pause' || fence.isStill || fence.busy) return;
    const making = makeStill(volume).then(
      async () => {
        if (state.fence(volume.volume).isCutOff) await thawFileSystem(volume);
        else this.#change(volume, { isStill: true });
      },
      (error) => this.#failed(volume, `its file system can't be made still: ${messageOf(error)}`),
    );
    this.#during(volume, making);
  }

  /** Shuts the file system down: nothing that the kernel has cached reaches the volume any more. */
  async #cutOff(volume: WatchedVolume): Promise<void> {
    const { state } = this.#options;
    if (state.fence(volume.volume).isCutOff) return;
    try {
      await cutOff(volume);
      this.#change(volume, { isCutOff: true, isStill: false });
    } catch (error) {
      this.#failed(volume, `its file system can't be shut down: ${messageOf(error)}`);
    }
  }

  /** Asks the containers of volumes with `on-lost=stop` to stop, once. */
  async #ask(volumes: readonly WatchedVolume[]): Promise<void> {
    const { state, actions } = this.#options;
    const unasked = volumes.filter(({ volume }) => !state.fence(volume).isAsked);
    if (unasked.length === 0) return;
    const containers = await containersUsing(unasked.map((volume) => this.#mounted(volume)));
    const asking = unasked.map(async (volume) => {
      this.#change(volume, { isAsked: true });
      const users = containers.filter(({ volumes }) => volumes.includes(volume.volume));
      await Promise.all(
        users.map(async (container) => {
          void actions.stop(container, state.graceMs);
          const name = await actions.nameOf(container);
          this.#note('stopped', volume, `asked container ${name} to stop: ${unconfirmed}`);
        }),
      );
    });
    await Promise.all(asking);
  }

  /** Writes back dirty pages early, so that little is left to write at the deadline. */
  #flushEarly(volume: WatchedVolume): void {
    const { isFlushed, busy } = this.#options.state.fence(volume.volume);
    if (isFlushed || busy) return;
    this.#change(volume, { isFlushed: true });
    this.#during(
      volume,
      flush(volume).catch((error) => log('volume=%s: %s', volume.volume, error)),
    );
  }

  /** Thaws the file systems of volumes that may be written, then resumes their containers. */
  async #release(volumes: readonly WatchedVolume[]): Promise<void> {
    const { state } = this.#options;
    for (const volume of volumes) {
      const fence = state.fence(volume.volume);
      if (this.#wishFor(volume) === 'run' && (fence.isAsked || fence.isFlushed)) {
        this.#change(volume, { isAsked: false, isFlushed: false });
      }
      if (fence.busy || (fence.state === 'running' && !fence.isStill)) continue;
      await thawFileSystem(volume);
      this.#change(volume, { state: 'running', isStill: false });
    }
    await this.#resume();
  }

  /** Resumes containers whose volumes are all running or no longer watched. */
  async #resume(): Promise<void> {
    const { state, actions, now } = this.#options;
    const isRunning = (name: string) => state.fence(name).state === 'running';
    const mayRun = state.paused.filter(({ volumes }) => volumes.every(isRunning));
    await Promise.all(
      mayRun.map(async (container) => {
        if (container.isUsers) {
          await actions.unhold(container);
          state.removePaused(container.id);
          return;
        }
        if (!(await actions.resume(container))) return;
        const { isUncertain, resumedAtMs } = container;
        if (!isUncertain) state.removePaused(container.id);
        else if (resumedAtMs === undefined) state.setPaused({ ...container, resumedAtMs: now() });
        else if (now() - resumedAtMs > latePauseMs) state.removePaused(container.id);
        if (resumedAtMs !== undefined) return;
        const name = await actions.nameOf(container);
        for (const volume of container.volumes) {
          state.note('resumed', volume, `resumed container ${name}: this host holds the volume`);
        }
      }),
    );
  }

  #killed(volume: WatchedVolume, { id }: Container, name: string): void {
    const { state } = this.#options;
    const fence = state.fence(volume.volume);
    if (fence.killed.includes(id)) return;
    this.#change(volume, { killed: [...fence.killed, id] });
    state.removePaused(id);
    this.#note('killed', volume, `killed container ${name}: ${reasons[volume.state]}`);
  }

  #failed(volume: WatchedVolume, message: string): void {
    const fence = this.#options.state.fence(volume.volume);
    log('ERROR volume=%s: %s', volume.volume, message);
    if (fence.complaint === message) return;
    this.#change(volume, { complaint: message });
    this.#note('failed', volume, message);
  }

  #note(kind: Happening['kind'], { volume }: WatchedVolume, message: string): void {
    this.#options.state.note(kind, volume, message);
  }

  #change({ volume }: WatchedVolume, change: Partial<VolumeFence>): void {
    const { state } = this.#options;
    state.setFence(volume, { ...state.fence(volume), ...change });
  }

  /** Starts work on the file system that may take long; the loop does not wait for it. */
  #during(volume: WatchedVolume, work: Promise<void>): void {
    const busy = work.finally(() => {
      this.#change(volume, { busy: undefined });
      this.#pause.abort();
    });
    this.#change(volume, { busy });
  }

  #sleepMs(): number {
    const { state, now } = this.#options;
    const starts = state.volumes.flatMap(({ deadlineMs, state: lock }) =>
      deadlineMs === undefined || lock === 'lost' || lock === 'evicted'
        ? []
        : [deadlineMs - state.leadMs - now()],
    );
    const next = Math.min(...starts.filter((leftMs) => leftMs > 0));
    const longest = state.paused.length > 0 ? fencedSleepMs : longestSleepMs;
    return Math.max(5, Math.min(longest, next));
  }
}

const unproven = "this host can't prove any more that it holds the volume";
const unconfirmed = 'the store has not confirmed the lock for some time';

/** Why a container was killed, by the state of the lock. */
const reasons: Record<WatchedVolume['state'], string> = {
  held: unproven,
  unproven,
  lost: 'another host may have the volume now',
  evicted: "an operator cleared the volume's lock",
};
