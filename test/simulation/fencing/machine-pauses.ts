import type { VolumeName } from './commands.ts';
import type { Record } from './history.ts';
import { kernelName } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { Machine, PauseSight } from './machine.ts';
import type { SentinelHost } from './sentinel-host.ts';

/** A sentinel that waits for nothing else reads its clocks at least this often. */
const clockReadMs = 1_500;
/** How long writers may run after the clocks of their machine have jumped. */
const jumpReactionMs = 600;

export interface MachinePausesOptions {
  readonly kernel: Kernel;
  readonly sentinel: SentinelHost;
  readonly ttlMs: number;
  readonly record: Record;
}

/** Pauses a whole machine and sets its clock; excuses what no sentinel can prevent because of that. */
export class MachinePauses {
  readonly #options: MachinePausesOptions;
  /** The last pause that only the time of day shows ended then. */
  #jumpedAtMs = Number.NEGATIVE_INFINITY;
  /** When the time of day was set last. */
  #setAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: MachinePausesOptions) {
    this.#options = options;
  }

  get #machine(): Machine {
    return this.#options.kernel.machine;
  }

  pause(): void {
    if (this.#machine.isPaused) return;
    this.#fault('the machine stands still');
    this.#machine.pause();
    this.#excuse(Number.POSITIVE_INFINITY);
    this.#options.kernel.updateAll();
  }

  resume(sight: PauseSight): void {
    const { pausedAt } = this.#machine;
    if (pausedAt === undefined) return;
    this.#fault(`the machine goes on; its pause is ${sight}`);
    this.#machine.resume(sight);
    this.#options.kernel.updateAll();
    this.#options.kernel.newcomers.continueAfter(pausedAt);
    const { now } = this.#machine.scheduler;
    if (sight === 'time of day') this.#jumpedAtMs = now;
    // The sentinel sees only the sum of a pause and of what was set since it last read its clocks.
    const isHidden = this.#setAtMs > pausedAt - clockReadMs;
    const showsJump = this.#options.sentinel.isInformed && !isHidden;
    const isSeen = sight === 'counted' || (sight === 'time of day' && showsJump);
    if (isSeen) {
      // Who appeared since the last scan is found by the next: nothing announces a jump.
      this.#excuse(now + jumpReactionMs + 2 * this.#options.kernel.newcomers.scanMs);
      this.#excuseSlowDisks();
    } else {
      this.#excuse(now);
      this.hideJump();
    }
  }

  /** Excuses the host for a pause that only the store can tell: its deadlines are too late. */
  hideJump(): void {
    if (this.#machine.isPaused) return;
    const untilMs =
      this.#machine.scheduler.now + this.#options.ttlMs + this.#options.kernel.newcomers.reactionMs;
    this.#excuse(untilMs, 'the clocks do not show a pause');
  }

  slowDown(volume: VolumeName, ms: number | undefined): void {
    const mount = this.#options.kernel.mountOf(volume);
    if (!mount) return;
    if (ms !== undefined) this.#fault(`the disk of ${volume} is slow`);
    mount.slowMs = ms;
    if (this.#hasJustJumped) this.#excuseSlowDisks();
  }

  /**
   * After a jump of the clocks a file system that is slow to freeze is not shut down before its
   * deadline: the jump may mean nothing, and a shutdown loses data.
   */
  #excuseSlowDisks(): void {
    if (
      [...this.#options.kernel.mounts].every(
        ({ slowMs, isHung }) => slowMs === undefined && !isHung,
      )
    )
      return;
    const untilMs =
      this.#machine.scheduler.now + this.#options.ttlMs + this.#options.kernel.newcomers.reactionMs;
    const why = 'its disk is slow after a jump';
    this.#options.record({
      kind: 'excused',
      host: this.#machine.name,
      user: kernelName,
      untilMs,
      why,
    });
  }

  setTimeOfDay(byMs: number): void {
    this.#fault('the time of day is set');
    this.#machine.jumpTimeOfDay(byMs);
    this.#setAtMs = this.#machine.scheduler.now;
    if (this.#hasJustJumped) this.hideJump();
  }

  /** Notes that the sentinel has lost its knowledge of the clock. */
  loseClock(): void {
    if (this.#hasJustJumped) this.hideJump();
  }

  get #hasJustJumped(): boolean {
    return this.#machine.scheduler.now - this.#jumpedAtMs < this.#options.ttlMs;
  }

  #fault(what: string): void {
    this.#options.record({ kind: 'fault', host: this.#machine.name, what });
  }

  #excuse(untilMs: number, why = 'the machine stood still'): void {
    this.#options.kernel.newcomers.excuseAll(why, untilMs - this.#machine.scheduler.now);
  }
}
