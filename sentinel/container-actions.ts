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
import type { Container } from './container-scan.ts';
import type { EngineCalls } from './engine-calls.ts';
import { EngineRefusalError } from './engine-calls.ts';
import { hold, isHeld, unhold } from './hold.ts';

const log = createDebug('berth:sentinel');

/** An engine that is well pauses a container within a few hundredths of a second. */
const engineLimitMs = 400;

/**
 * Pauses, resumes and ends containers: through their engine, so that `docker ps` tells the truth,
 * and where that does not work in time through their control group, because it has to be done
 * while an engine hangs or is dead. Each method is idempotent and looks at the result.
 */
export class ContainerActions {
  readonly #engine: EngineCalls;

  constructor(engine: EngineCalls) {
    this.#engine = engine;
  }

  /** Whether no process of the container can run, nor be let run by its engine. */
  standsStill(container: Container): Promise<boolean> {
    return container.group ? isHeld(container.group) : this.isPaused(container);
  }

  /** Whether it is paused, or has ended. */
  async isPaused({ id, group }: Container): Promise<boolean> {
    if (group) return isFrozen(group);
    const state = await this.#engine.inspect(id, engineLimitMs);
    return !state?.isRunning || state.isPaused;
  }

  /** Whether somebody wants it dead, who can't see to that himself while it stands still. */
  async isBeingKilled({ group }: Container): Promise<boolean> {
    return group !== undefined && isBeingKilled(group);
  }

  /** Rejects when the container may still run. */
  async hold(container: Container): Promise<void> {
    if (container.group) return hold(container.group);
    if (await this.isPaused(container)) return;
    throw new Error('its engine does not pause it, and its control group is out of reach');
  }

  /**
   * Rejects when the container may still run. The engine is given at most `limitMs`; false: it did
   * not say in that time that it has done it.
   */
  async pause(container: Container, limitMs: number): Promise<boolean> {
    const byEngine = await this.pauseByEngine(container, Math.min(limitMs, engineLimitMs));
    await this.hold(container);
    return byEngine;
  }

  /** So that people see it; false: its engine does not say that it has it paused. */
  async pauseByEngine({ id }: Container, limitMs = 4 * engineLimitMs): Promise<boolean> {
    try {
      await this.#engine.pause(id, limitMs);
      return true;
    } catch (error) {
      log('the engine does not pause %s: %s', id, error);
      return error instanceof EngineRefusalError && error.message.includes('already paused');
    }
  }

  /** Leaves it as its engine has it: the reverse of `hold`. */
  async unhold({ group }: Container): Promise<void> {
    if (group) await unhold(group);
  }

  /** True when its engine, too, has it running, or it has ended; else try again later. */
  async resume({ id, group }: Container): Promise<boolean> {
    let isTold = true;
    try {
      const state = await this.#engine.inspect(id, engineLimitMs);
      if (state?.isPaused) {
        // The engine resumes only what stands still; an attempt before may have ended that.
        if (group) await freezeGroup(group);
        await this.#engine.unpause(id, 4 * engineLimitMs);
      }
    } catch (error) {
      log('the engine does not resume %s: %s', id, error);
      isTold = false;
    }
    if (group) {
      await thawGroup(group);
      await unhold(group);
    }
    return isTold;
  }

  /** Asks a container to end itself, for as long as `graceMs`. */
  async stop({ id }: Container, graceMs: number): Promise<void> {
    try {
      await this.#engine.stop(id, graceMs);
    } catch (error) {
      log('the engine does not stop %s: %s', id, error);
    }
  }

  /** Kills the container; true when it has ended, else try again. */
  async kill(container: Container): Promise<boolean> {
    const { id, group } = container;
    // The engine answers only when it has cleaned up, for which it may want an answer of ours.
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

  /** What people call it. */
  async nameOf({ id }: Container): Promise<string> {
    const short = id.slice(0, 12);
    try {
      const state = await this.#engine.inspect(id, engineLimitMs);
      return state ? `${state.name} (${short})` : short;
    } catch {
      return short; // Its engine hangs, or is not this one.
    }
  }
}
