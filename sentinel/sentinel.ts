import createDebug from 'debug';
import type { ContainerActions } from './container-actions.ts';
import type { Container, MountedVolume } from './container-scan.ts';
import { containersUsing, identityAt } from './container-scan.ts';
import { cutOff, flush, letGo, makeStill } from './file-systems.ts';
import type { Guard, SentinelState } from './state.ts';
import type { Happening, SentinelReport, Watch, WatchedVolume } from './watch.ts';
import { protocolVersion } from './watch.ts';

const log = createDebug('berth:sentinel');

/** The longest it sleeps: a machine that was suspended wakes up with its timers late. */
const longestSleepMs = 250;
/** While containers stand still: `docker exec` may put something new into one. */
const fencedSleepMs = 100;
/** So long before it has to act it starts to flush. */
const prepareMs = 2_000;
/** An engine that hung may yet do, when it goes on, what it was asked to long ago. */
const latePauseMs = 5_000;
const keptHappenings = 200;

/** What a volume's containers should be doing now. */
type Wish = 'run' | 'prepare' | 'stop' | 'stand-still' | 'end';

export interface SentinelOptions {
  readonly state: SentinelState;
  readonly actions: ContainerActions;
  /** The machine's boot clock. */
  readonly now: () => number;
}

/**
 * Keeps this host from writing to volumes that it may have lost. It knows nothing but volumes and
 * deadlines, which the daemon moves on as long as the store confirms the locks: a daemon that is
 * dead, frozen or cut off can't do the wrong thing, it just does not move them.
 *
 * One loop compares what the containers should be doing with what they do; each step is idempotent
 * and repeated until its result is seen, and what it changed is written down first, so that it can
 * be killed at any line.
 */
export class Sentinel {
  readonly #options: SentinelOptions;
  #awake = Promise.withResolvers<void>();
  #toldAt = 0;
  /** Containers whose engine is asked to pause what stands still already. */
  readonly #showing = new Set<string>();

  constructor(options: SentinelOptions) {
    this.#options = options;
    this.#toldAt = options.now();
  }

  /** The daemon's news. What it says holds when this returns, also for a successor. */
  told(watch: Watch): SentinelReport {
    const { state, now } = this.#options;
    state.update(watch);
    this.#toldAt = now();
    this.#awake.resolve();
    return this.report();
  }

  report(): SentinelReport {
    const { state } = this.#options;
    const volumes = state.volumes.map(({ volume }) => [volume, state.guard(volume).state] as const);
    return {
      protocolVersion,
      pid: process.pid,
      volumes: Object.fromEntries(volumes),
      happenings: state.happenings.slice(-keptHappenings),
    };
  }

  /** Since when there has been nothing to guard and nobody to guard it for. */
  get idleMs(): number {
    const { state, now } = this.#options;
    return state.volumes.length === 0 && state.paused.length === 0 ? now() - this.#toldAt : 0;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#step();
      } catch (error) {
        log('ERROR %O', error);
      }
      this.#awake = Promise.withResolvers();
      const timer = setTimeout(this.#awake.resolve, this.#sleepMs());
      await this.#awake.promise;
      clearTimeout(timer);
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

  /** Remembers what is mounted, for when it is not any more. */
  async #identify(volumes: readonly WatchedVolume[]): Promise<void> {
    const { state } = this.#options;
    for (const volume of volumes) {
      if (state.guard(volume.volume).identity) continue;
      const identity = await identityAt(volume.mountpoint);
      if (identity) this.#change(volume, { identity });
    }
  }

  #mounted({ volume, mountpoint }: WatchedVolume): MountedVolume {
    return { volume, mountpoint, identity: this.#options.state.guard(volume).identity };
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

  /** Whether the container can't write any more. */
  async #act(volume: WatchedVolume, container: Container, kills: boolean): Promise<boolean> {
    const { state, actions } = this.#options;
    try {
      if (kills) {
        const name = actions.nameOf(container); // Asked first: an engine forgets what has ended.
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
        await actions.hold(container); // Somebody runs something in it.
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
      this.#failed(volume, `container ${container.id} can't be kept from writing: ${error}`);
      return false;
    }
  }

  /** Has the engine catch up with what was done without it; nobody waits for that. */
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
    const guard = state.guard(volume.volume);
    if (guard.state !== 'fenced') {
      log('fenced volume=%s', volume.volume);
      state.setGuard(volume.volume, { ...guard, state: 'fenced' });
    }
    if (volume.onLost !== 'pause' || guard.isStill || guard.busy) return;
    const making = makeStill(volume).then(
      async () => {
        if (state.guard(volume.volume).isCutOff) await letGo(volume);
        else this.#change(volume, { isStill: true });
      },
      (error) => this.#failed(volume, `its file system can't be made still: ${error}`),
    );
    this.#during(volume, making);
  }

  /** From here on nothing that the kernel still has cached can reach the volume. */
  async #cutOff(volume: WatchedVolume): Promise<void> {
    const { state } = this.#options;
    if (state.guard(volume.volume).isCutOff) return;
    try {
      await cutOff(volume);
      this.#change(volume, { isCutOff: true, isStill: false });
    } catch (error) {
      this.#failed(volume, `its file system can't be cut off: ${error}`);
    }
  }

  async #ask(volumes: readonly WatchedVolume[]): Promise<void> {
    const { state, actions } = this.#options;
    const unasked = volumes.filter(({ volume }) => !state.guard(volume).isAsked);
    if (unasked.length === 0) return;
    const containers = await containersUsing(unasked.map((volume) => this.#mounted(volume)));
    const asking = unasked.map(async (volume) => {
      this.#change(volume, { isAsked: true });
      const users = containers.filter(({ volumes }) => volumes.includes(volume.volume));
      await Promise.all(
        users.map(async (container) => {
          void actions.stop(container, state.graceMs);
          const name = await actions.nameOf(container);
          this.#note('stopped', volume, `asked container ${name} to stop: no word from the store`);
        }),
      );
    });
    await Promise.all(asking);
  }

  /** So that little is left to be written when it is time. */
  #flushEarly(volume: WatchedVolume): void {
    const { isFlushed, busy } = this.#options.state.guard(volume.volume);
    if (isFlushed || busy) return;
    this.#change(volume, { isFlushed: true });
    this.#during(
      volume,
      flush(volume).catch((error) => log('volume=%s: %s', volume.volume, error)),
    );
  }

  async #release(volumes: readonly WatchedVolume[]): Promise<void> {
    const { state } = this.#options;
    for (const volume of volumes) {
      const guard = state.guard(volume.volume);
      if (this.#wishFor(volume) === 'run' && (guard.isAsked || guard.isFlushed)) {
        this.#change(volume, { isAsked: false, isFlushed: false });
      }
      if (guard.busy || (guard.state === 'running' && !guard.isStill)) continue;
      await letGo(volume);
      this.#change(volume, { state: 'running', isStill: false });
    }
    await this.#resume();
  }

  /** Those whose volumes may all run again, or are not guarded any more. */
  async #resume(): Promise<void> {
    const { state, actions, now } = this.#options;
    const isRunning = (name: string) => state.guard(name).state === 'running';
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
          state.note('resumed', volume, `resumed container ${name}: the volume is ours`);
        }
      }),
    );
  }

  #killed(volume: WatchedVolume, { id }: Container, name: string): void {
    const { state } = this.#options;
    const guard = state.guard(volume.volume);
    if (guard.killed.includes(id)) return;
    this.#change(volume, { killed: [...guard.killed, id] });
    state.removePaused(id);
    this.#note('killed', volume, `killed container ${name}: ${reasons[volume.state]}`);
  }

  #failed(volume: WatchedVolume, message: string): void {
    const guard = this.#options.state.guard(volume.volume);
    log('ERROR volume=%s: %s', volume.volume, message);
    if (guard.complaint === message) return;
    this.#change(volume, { complaint: message });
    this.#note('failed', volume, message);
  }

  #note(kind: Happening['kind'], { volume }: WatchedVolume, message: string): void {
    this.#options.state.note(kind, volume, message);
  }

  #change({ volume }: WatchedVolume, change: Partial<Guard>): void {
    const { state } = this.#options;
    state.setGuard(volume, { ...state.guard(volume), ...change });
  }

  /** Work on the file system that may take long; the loop goes on without it. */
  #during(volume: WatchedVolume, work: Promise<void>): void {
    const busy = work.finally(() => {
      this.#change(volume, { busy: undefined });
      this.#awake.resolve();
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

const unproven = "this host can't prove any more that the volume is its own";

/** Why a container was killed. */
const reasons: Record<WatchedVolume['state'], string> = {
  held: unproven,
  unproven,
  lost: 'another host may have the volume now',
  evicted: "an operator cleared the volume's lock",
};
