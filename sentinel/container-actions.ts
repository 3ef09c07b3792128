import createDebug from 'debug';
import {
  becomesEmpty,
  freezeGroup,
  isBeingKilled,
  isEmpty,
  isFrozen,
  killGroup,
  thawGroup,
} from '../lib/linux/control-group.ts';
import type { Clock } from '../lib/running/clock.ts';
import type { Container } from './container-scan.ts';
import type { EngineCalls } from './engine-calls.ts';
import { EngineRefusalError } from './engine-calls.ts';
import { hold, isHeld, unhold } from './hold.ts';

const log = createDebug('berth:sentinel');

/** A healthy engine pauses a container within a few hundredths of a second. */
const engineLimitMs = 400;

/**
 * Pauses, resumes and ends containers: through their engine, so that `docker ps` shows the truth,
 * and through their control group where the engine hangs, is dead or is too slow. Each method is
 * idempotent and checks the result.
 */
export class ContainerActions {
  readonly #engine: EngineCalls;
  readonly #clock: Clock;

  constructor(engine: EngineCalls, clock: Clock) {
    this.#engine = engine;
    this.#clock = clock;
  }

  /** Returns true if no process of the container can run, and its engine can't thaw one. */
  standsStill(container: Container): Promise<boolean> {
    return container.group ? isHeld(container.group) : this.isPaused(container);
  }

  /** Returns true if the container is paused or has ended. */
  async isPaused({ id, group }: Container): Promise<boolean> {
    if (group) return isFrozen(group);
    const state = await this.#engine.inspect(id, engineLimitMs);
    return !state?.isRunning || state.isPaused;
  }

  /** Returns true if SIGKILL is pending; a frozen process can't die until it is thawed. */
  async isBeingKilled({ group }: Container): Promise<boolean> {
    return group !== undefined && isBeingKilled(group);
  }

  /** Moves the container's processes to a frozen group. Rejects when they may still run. */
  async hold(container: Container): Promise<void> {
    if (container.group) return hold(container.group, this.#clock);
    if (await this.isPaused(container)) return;
    throw new Error('its engine does not pause it, and its control group can not be reached');
  }

  /**
   * Pauses and holds the container. Resolves to false when the engine did not confirm the pause
   * within `limitMs`. Rejects when the container may still run.
   */
  async pause(container: Container, limitMs: number): Promise<boolean> {
    const byEngine = await this.pauseByEngine(container, Math.min(limitMs, engineLimitMs));
    await this.hold(container);
    return byEngine;
  }

  /** Asks the engine to pause it, so `docker ps` shows it; false if not confirmed. */
  async pauseByEngine({ id }: Container, limitMs = 4 * engineLimitMs): Promise<boolean> {
    try {
      await this.#engine.pause(id, limitMs);
      return true;
    } catch (error) {
      log('the engine does not pause %s: %s', id, error);
      return error instanceof EngineRefusalError && error.message.includes('already paused');
    }
  }

  /** Undoes `hold`: its engine then decides again whether the container runs. */
  async unhold({ group }: Container): Promise<void> {
    if (group) await unhold(group, this.#clock);
  }

  /** Resolves to true if the engine confirms that it runs, or it has ended; else repeat the call. */
  async resume({ id, group }: Container): Promise<boolean> {
    let isConfirmed = true;
    try {
      const state = await this.#engine.inspect(id, engineLimitMs);
      if (state?.isPaused) {
        // The engine resumes only what is frozen, and an earlier attempt may have thawed it.
        if (group) await freezeGroup(group);
        await this.#engine.unpause(id, 4 * engineLimitMs);
      }
    } catch (error) {
      log('the engine does not resume %s: %s', id, error);
      isConfirmed = false;
    }
    if (group) {
      await thawGroup(group);
      await unhold(group, this.#clock);
    }
    return isConfirmed;
  }

  /** Asks a container to stop by itself within `graceMs`. */
  async stop({ id }: Container, graceMs: number): Promise<void> {
    try {
      await this.#engine.stop(id, graceMs);
    } catch (error) {
      log('the engine does not stop %s: %s', id, error);
    }
  }

  /** Kills the container. Resolves to true if it has ended; else repeat the call. */
  async kill(container: Container): Promise<boolean> {
    const { id, group } = container;
    // The engine answers after its clean-up, which may wait for an answer of this host's daemon.
    const killing = this.#engine
      .kill(id, engineLimitMs)
      .catch((error) => log('the engine does not kill %s: %s', id, error));
    if (!group) {
      await killing;
      const state = await this.#engine.inspect(id, engineLimitMs);
      return !state?.isRunning;
    }
    await Promise.race([killing, becomesEmpty(group, engineLimitMs)]);
    if (!(await isEmpty(group))) await killGroup(group);
    await becomesEmpty(group, engineLimitMs);
    return isEmpty(group);
  }

  /** Returns the container's name and short ID, for people. */
  async nameOf({ id }: Container): Promise<string> {
    const short = id.slice(0, 12);
    try {
      const state = await this.#engine.inspect(id, engineLimitMs);
      return state ? `${state.name} (${short})` : short;
    } catch {
      return short; // The engine hangs, or the container belongs to another engine.
    }
  }
}
