import createDebug from 'debug';
import { EngineRefusalError } from './engine-calls.ts';
import type { EngineCalls, MachineClock, Standing, Stops, User } from './ports.ts';
import { Repeats } from './repeats.ts';

const log = createDebug('berth:sentinel');

/** A healthy engine pauses a container within a few hundredths of a second. */
const engineLimitMs = 400;
const slowEngineLimitMs = 4 * engineLimitMs;
const eventLimitMs = 1_500;
/** A container that must end stands still: there is time for an engine that is busy. */
const killLimitMs = 5_000;
const killPollMs = 50;
/**
 * An engine that did not answer is not asked to resume containers for this long, and longer each time:
 * a container stands still while it is asked.
 */
const shortestHangMs = 2_000;
const longestHangMs = 30_000;

/**
 * Stops, shows, releases and ends users: through the kernel, and, so that `docker ps` shows the
 * truth, through their engine. Only where a container's control group can't be reached, the engine
 * alone does it. Each method is idempotent.
 */
export class UserControl {
  readonly #stops: Stops;
  readonly #engine: EngineCalls;
  readonly #clock: Pick<MachineClock, 'now' | 'sleep'>;
  /** The names for events that the engine has not told yet, by the keys of the users. */
  readonly #asked = new Map<string, Promise<string>>();
  /** Pauses and kills that an engine is asked for, each by the keys of the users. */
  readonly #repeats: Record<'pause' | 'kill', Repeats>;
  #hangsUntilMs = 0;
  #hangMs = shortestHangMs;

  constructor(stops: Stops, engine: EngineCalls, clock: Pick<MachineClock, 'now' | 'sleep'>) {
    this.#stops = stops;
    this.#engine = engine;
    this.#clock = clock;
    this.#repeats = { pause: new Repeats(clock), kill: new Repeats(clock) };
  }

  async standing(user: User): Promise<Standing> {
    if (this.isReachable(user)) return this.#stops.standing(user);
    const state = await this.#engine.inspect(user.id ?? '', engineLimitMs);
    if (!state?.isRunning) return { is: 'ended' };
    // Nobody but the engine can thaw it.
    return { is: state.isPaused ? 'held' : 'running' };
  }

  /** Resolves to `found` if a person had paused it before. */
  async freeze(user: User): Promise<'frozen' | 'found'> {
    if (this.isReachable(user)) return this.#stops.freeze(user);
    await this.#engine.pause(user.id ?? '', engineLimitMs);
    return 'frozen';
  }

  /** Resolves to `found` if a person had paused it before. */
  async hold(user: User): Promise<'held' | 'found'> {
    return this.isReachable(user) ? this.#stops.hold(user) : 'held';
  }

  /**
   * Asks the engine to pause it, so `docker ps` shows it; false if not confirmed, also if it was asked
   * a short time ago.
   */
  async show({ id, key }: User): Promise<boolean> {
    if (id === undefined) return true;
    if (!this.#repeats.pause.isDue(key)) return false;
    try {
      await this.#repeats.pause.noted(key, this.#engine.pause(id, slowEngineLimitMs));
      return true;
    } catch (error) {
      log('the engine does not pause %s: %s', id, error);
      if (!(error instanceof EngineRefusalError)) return false;
      // It answers: then it shows what it can.
      return error.message.includes('already paused') || error.status === 404;
    }
  }

  /** Lets it run, in the kernel; with `keepsPause` a freeze that others have requested stays. */
  async release(user: User, keepsPause: boolean): Promise<void> {
    this.startAgain(user);
    if (this.isReachable(user)) await this.#stops.release(user, keepsPause);
  }

  /** Ends the release: if it resolves to true, a successor does not find the user any more. */
  async forget(user: User): Promise<boolean> {
    return this.isReachable(user) ? this.#stops.forget(user) : true;
  }

  /**
   * Makes its engine show a released user as running: resolves to true if it does. The user stands
   * still meanwhile, and runs afterwards whatever the engine answers, unless `isWanted` says by then
   * that it must stand still.
   */
  async showReleased(user: User, isWanted: () => boolean): Promise<boolean> {
    if (user.id === undefined) return true;
    const answer = await this.#unpause(user, user.id, isWanted);
    // A container that runs for its engine is frozen by nobody but a person who pauses it now.
    if (answer !== 'runs' && isWanted()) await this.release(user, false);
    return answer !== 'fails';
  }

  /** Resolves to `runs` if the engine shows it as running without being asked to resume it. */
  async #unpause(
    user: User,
    id: string,
    isWanted: () => boolean,
  ): Promise<'runs' | 'resumed' | 'fails'> {
    // Many containers must not wait for an engine that hangs, one after another.
    if (this.isReachable(user) && this.#clock.now() < this.#hangsUntilMs) return 'fails';
    try {
      const state = await this.#engine.inspect(id, engineLimitMs);
      if (!state?.isPaused) return 'runs';
      if (!isWanted()) return 'fails';
      // Engines refuse to resume what is not frozen.
      if (this.isReachable(user)) await this.#stops.freeze(user);
      await this.#engine.unpause(id, slowEngineLimitMs);
      this.#hangMs = shortestHangMs;
      return 'resumed';
    } catch (error) {
      log('the engine does not resume %s: %s', id, error);
      if (!(error instanceof EngineRefusalError)) this.#noteHang();
      return 'fails';
    }
  }

  /** Asks a container to stop by itself within `graceMs`. */
  async ask({ id }: User, graceMs: number): Promise<void> {
    if (id === undefined) return;
    try {
      await this.#engine.stop(id, graceMs);
    } catch (error) {
      log('the engine does not stop %s: %s', id, error);
    }
  }

  /**
   * Kills it; it may take a moment to end. Its engine goes first: a container that ends without its
   * engine's doing is a crash to the engine, which starts it again at once. An engine kills by a
   * signal, which is seen, and may then wait for long: what is held ends only by `Stops.kill`. A
   * repeated kill goes to the engine less and less often, and each time to the kernel.
   */
  async kill(user: User): Promise<void> {
    const isEnginesTurn = this.#repeats.kill.isDue(user.key);
    if (user.id !== undefined && isEnginesTurn) await this.#killByEngine(user, user.id);
    if (this.isReachable(user) && (await this.standing(user)).is !== 'ended') {
      await this.#stops.kill(user);
    }
  }

  /** Resolves when the engine has sent its signal, has refused, or has had its time. */
  async #killByEngine(user: User, id: string): Promise<void> {
    const limitMs = this.#clock.now() < this.#hangsUntilMs ? engineLimitMs : killLimitMs;
    const answered = new AbortController();
    const killing = this.#repeats.kill
      .noted(user.key, this.#engine.kill(id, limitMs))
      .catch((error) => {
        log('the engine does not kill %s: %s', id, error);
        if (!(error instanceof EngineRefusalError)) this.#noteHang();
      })
      .finally(() => answered.abort('answered'));
    while (!answered.signal.aborted && !(await this.isBeingKilled(user))) {
      await this.#clock.sleep(killPollMs, answered.signal);
    }
    // What the engine answers later changes nothing any more.
    void killing;
  }

  /** The next pause and the next kill are new ones, not repeats: it has ended, or runs again. */
  startAgain({ key }: User): void {
    for (const repeats of Object.values(this.#repeats)) repeats.startAgain(key);
  }

  /** One hang counts once, however many requests find it. */
  #noteHang(): void {
    const now = this.#clock.now();
    if (now < this.#hangsUntilMs) return;
    this.#hangsUntilMs = now + this.#hangMs;
    this.#hangMs = Math.min(2 * this.#hangMs, longestHangMs);
  }

  /** Returns false if only the engine can act on it. */
  isReachable({ group, process }: User): boolean {
    return group !== undefined || process !== undefined;
  }

  isBeingKilled(user: User): Promise<boolean> {
    return this.isReachable(user) ? this.#stops.isBeingKilled(user) : Promise.resolve(false);
  }

  isDying(user: User): Promise<boolean> {
    return this.isReachable(user) ? this.#stops.isDying(user) : Promise.resolve(false);
  }

  /** Lets end whom somebody else has killed: frozen processes could not. */
  letDie(user: User): Promise<void> {
    return this.#stops.kill(user);
  }

  /** Returns a name for people; containers with their short ID. Waits for a busy engine only a moment. */
  nameOf(user: User): Promise<string> {
    return this.#ask(user, engineLimitMs);
  }

  /**
   * Returns the same for an event, for which nothing waits: an engine that pauses many containers has
   * time to answer. Two events of one user keep their order.
   */
  async eventNameOf(user: User): Promise<string> {
    const asked = this.#asked.get(user.key) ?? this.#ask(user, eventLimitMs);
    this.#asked.set(user.key, asked);
    const name = await asked;
    this.#asked.delete(user.key);
    return name;
  }

  async #ask({ id, key, process }: User, limitMs: number): Promise<string> {
    if (process) return `process ${process.name} (pid ${process.pid})`;
    if (id === undefined) return `container ${key}`;
    const short = id.slice(0, 12);
    try {
      const state = await this.#engine.inspect(id, limitMs);
      return state ? `container ${state.name} (${short})` : `container ${short}`;
    } catch {
      return `container ${short}`; // The engine hangs, or the container belongs to another engine.
    }
  }
}
