import type { MachineClock } from './ports.ts';

/** A jump of the time of day by less than this is the correction of a clock. */
const smallestJumpMs = 1_000;

/**
 * Notices that time has passed which the boot clock did not count: a virtual machine that was paused
 * or migrated often gets its time of day set forward when it goes on. Deadlines that were computed
 * before mean nothing then. A clock that is set back says nothing of that kind.
 */
export class ClockJump {
  readonly #clock: MachineClock;
  #lead: number;

  constructor(clock: MachineClock) {
    this.#clock = clock;
    this.#lead = clock.timeOfDayMs() - clock.now();
  }

  /** Returns by how much the time of day has jumped forward since the last call; 0 if it has not. */
  read(): number {
    const lead = this.#clock.timeOfDayMs() - this.#clock.now();
    const jumpedMs = lead - this.#lead;
    this.#lead = lead;
    return jumpedMs >= smallestJumpMs ? jumpedMs : 0;
  }
}
