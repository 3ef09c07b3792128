import type { MachineClock } from '../../../sentinel/ports.ts';
import type { Random } from '../random.ts';
import { between, longTailed, randomStream } from '../random.ts';
import type { Scheduler } from '../scheduler.ts';
import { Party } from '../scheduler.ts';

/** The longest time by which a timer is late. */
const longestLateMs = 25;
/** The longest time until a process notices that its machine runs again. */
const longestWakeMs = 50;

/** The longest time until a process that sleeps notices a jump of the time of day. */
const longestNoticeMs = 60;

/** How a pause of the whole machine shows in its clocks afterwards. */
export type PauseSight =
  /** The clock since boot has counted it: a suspend. */
  | 'counted'
  /** The time of day alone has moved on: a virtual machine that was stopped or moved. */
  | 'time of day'
  | 'unseen';

/** One computer: its clocks, and the processes that are frozen with it. */
export class Machine {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly #rate: number;
  readonly #startMs: number;
  readonly #random: Random;
  /** Why each process stands still. */
  readonly #stops = new Map<Party, Set<string>>();
  /** Ends the sleeps in progress, by the party that sleeps. */
  readonly #sleepers = new Map<() => void, Party>();
  #uncountedMs = 0;
  #dayOffsetMs = 0;
  #pausedAt: number | undefined;

  constructor(options: { name: string; seed: number; scheduler: Scheduler }) {
    this.name = options.name;
    this.scheduler = options.scheduler;
    const random = randomStream(options.seed, `${options.name} machine`);
    this.#random = random;
    this.#rate = between(random, 0.99, 1.01);
    this.#startMs = between(random, 1e5, 1e9);
  }

  /** The storage's time when it was paused; undefined while it runs. */
  get pausedAt(): number | undefined {
    return this.#pausedAt;
  }

  get isPaused(): boolean {
    return this.#pausedAt !== undefined;
  }

  /** Milliseconds since boot. */
  bootMs(): number {
    const until = this.#pausedAt ?? this.scheduler.now;
    return this.#startMs + (until - this.#uncountedMs) * this.#rate;
  }

  /** Returns the time of the storage at which this machine's boot clock will show `bootMs`. */
  storageTime(bootMs: number): number {
    return (bootMs - this.#startMs) / this.#rate + this.#uncountedMs;
  }

  /** Returns how long `ms` of the storage's time are by this machine's clock. */
  ownMs(ms: number): number {
    return ms * this.#rate;
  }

  jumpTimeOfDay(ms: number): void {
    this.#dayOffsetMs += ms;
    for (const [wake, party] of this.#sleepers) {
      const noticeMs = between(this.#random, 0, longestNoticeMs);
      this.scheduler.after(noticeMs, party, 'timer', wake);
    }
  }

  /** Adds a process; it stands still with its machine. */
  party(name: string): Party {
    const party = new Party(`${this.name} ${name}`);
    this.#stops.set(party, new Set(this.isPaused ? ['machine'] : []));
    if (this.isPaused) party.state = 'paused';
    return party;
  }

  end(party: Party): void {
    party.state = 'gone';
    party.heldBack.length = 0;
    this.#stops.delete(party);
  }

  freeze(party: Party, why: string): void {
    const stops = this.#stops.get(party);
    if (!stops) return;
    stops.add(why);
    party.state = 'paused';
  }

  thaw(party: Party, why: string): void {
    const stops = this.#stops.get(party);
    if (!stops?.delete(why) || stops.size > 0) return;
    this.scheduler.resume(party, 'due');
  }

  pause(): void {
    if (this.isPaused) return;
    this.#pausedAt = this.scheduler.now;
    for (const party of this.#stops.keys()) this.freeze(party, 'machine');
  }

  /** Continues: the processes of containers run at once, those of berth a little later. */
  resume(sight: PauseSight): void {
    const since = this.#pausedAt;
    if (since === undefined) return;
    this.#pausedAt = undefined;
    const pausedMs = this.scheduler.now - since;
    if (sight !== 'counted') this.#uncountedMs += pausedMs;
    if (sight === 'time of day') this.jumpTimeOfDay(pausedMs);
    const waking = new Party('world');
    for (const party of this.#stops.keys()) {
      const wakeMs = between(this.#random, 0, longestWakeMs);
      this.scheduler.after(wakeMs, waking, 'timer', () => {
        if (!this.isPaused) this.thaw(party, 'machine');
      });
    }
  }

  clockOf(party: Party, onSleep: () => void = () => {}): MachineClock {
    const now = () => this.bootMs();
    const timeOfDayMs = () => Date.UTC(2026, 0, 1) + now() + this.#dayOffsetMs;
    return {
      now,
      timeOfDayMs,
      date: () => new Date(timeOfDayMs()),
      sleep: (ms, signal) => {
        onSleep();
        return this.#sleep(party, ms, signal);
      },
    };
  }

  #sleep(party: Party, ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const wake = () => {
        timer.run = undefined;
        this.#sleepers.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const lateMs = longTailed(this.#random, 0.01, longestLateMs);
      const timer = this.scheduler.after(
        Math.max(1, ms) / this.#rate + lateMs,
        party,
        'timer',
        wake,
      );
      this.#sleepers.set(wake, party);
      signal?.addEventListener('abort', wake);
    });
  }
}
