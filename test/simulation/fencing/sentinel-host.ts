import type { StateFile } from '../../../sentinel/ports.ts';
import type { SentinelReport, Watch } from '../../../sentinel/watch.ts';
import { randomStream } from '../random.ts';
import type { Claim, Record } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { KernelUser } from './kernel-user.ts';
import { LastWatch } from './last-watch.ts';
import { sentinelPorts } from './sentinel-ports.ts';
import type { MakeSentinel, SentinelUnderTest } from './sentinel-under-test.ts';
import type { SimulatedEngine } from './simulated-engine.ts';
import { SimulatedProcess } from './simulated-process.ts';
import { ToldMounts } from './told-mounts.ts';

/** The fate of the state file when the sentinel is killed. */
export type StateFate = 'kept' | 'lost' | 'garbage';

const reason = 'no sentinel runs that knows the mounts';

/** The sentinel of a host: its processes one after another, their state file, and their watches. */
export class SentinelHost {
  readonly #kernel: Kernel;
  readonly #engine: SimulatedEngine;
  readonly #make: MakeSentinel;
  readonly #record: Record;
  readonly #seed: number;
  #lines: string[] = [];
  #process: SimulatedProcess | undefined;
  #sentinel: SentinelUnderTest | undefined;
  #stop = new AbortController();
  #starts = 0;
  #isInformed = false;
  readonly #told: ToldMounts;
  readonly #random: () => number;
  #lastWatch: LastWatch | undefined;
  readonly #claims = new Map<string, Claim>();
  /** How long a scan takes beyond the usual; undefined if it can't look. */
  extraScanMs: number | undefined = 0;

  constructor(options: {
    kernel: Kernel;
    engine: SimulatedEngine;
    make: MakeSentinel;
    record: Record;
    seed: number;
  }) {
    this.#kernel = options.kernel;
    this.#told = new ToldMounts(options.kernel.machine, options.record);
    this.#engine = options.engine;
    this.#make = options.make;
    this.#record = options.record;
    this.#seed = options.seed;
    this.#random = randomStream(options.seed, `${options.kernel.machine.name} changes`);
  }

  get #host(): string {
    return this.#kernel.machine.name;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** True when a sentinel, or its state file, knows the mounts and the clock from before. */
  get isInformed(): boolean {
    return this.#isInformed;
  }

  /** True if a sentinel may have died when it was about to stop the user: its state says that it did. */
  mayHaveMeant(user: KernelUser): boolean {
    return !this.isRunning && this.#told.against(user).length > 0;
  }

  get lastReport(): SentinelReport | undefined {
    return this.#sentinel?.report();
  }

  start(): void {
    if (this.#process) return;
    const { machine } = this.#kernel;
    this.#starts += 1;
    const name = `sentinel ${this.#starts}`;
    const process = new SimulatedProcess({
      party: machine.party(name),
      scheduler: machine.scheduler,
      onDeath: () => this.kill('kept'),
    });
    this.#process = process;
    this.#stop = new AbortController();
    this.#fault(`${name} starts`);
    const sentinel = this.#make(
      sentinelPorts({
        process,
        kernel: this.#kernel,
        engine: this.#engine,
        file: this.#file(),
        random: randomStream(this.#seed, `${this.#host} ${name}`),
        record: this.#record,
        onRelease: ({ key }) => this.#noteRelease(key),
        extraScanMs: () => this.extraScanMs,
        onReport: () => this.#sample(process),
      }),
    );
    this.#sentinel = sentinel;
    void sentinel.run(this.#stop.signal).catch((error) => this.#bug(error));
    if (this.#isInformed) this.#back();
  }

  /** Tells the sentinel; returns undefined if it dies meanwhile. A daemon may not know all mounts. */
  tell(watch: Watch, knowsAll: boolean): SentinelReport | undefined {
    const process = this.#process;
    const sentinel = this.#sentinel;
    if (!process || !sentinel || process.party.state !== 'running') return undefined;
    const report = this.#tellIt(sentinel, watch);
    if (process.isGone) return undefined;
    this.#told.noteAnswer(watch);
    this.#checkMemory(report);
    if (!this.#isInformed && knowsAll) {
      this.#isInformed = true;
      this.#back();
    }
    this.#sample(process);
    return report;
  }

  /** Gives the whole watch, or only what has changed in it, as the daemon does for a mount. */
  #tellIt(sentinel: SentinelUnderTest, watch: Watch): SentinelReport {
    const change = this.#random() < 0.5 ? this.#lastWatch?.changeTo(watch) : undefined;
    if (change) {
      this.#told.note(change);
      sentinel.changed(change);
    } else {
      this.#told.note(watch);
      sentinel.told(watch);
    }
    const report = sentinel.report();
    // The writes of this word may have been its last steps.
    if (this.#sentinel === sentinel) this.#lastWatch = new LastWatch(watch, report.base ?? '');
    return report;
  }

  /** Kills it now, or after some of its next steps. */
  kill(fate: StateFate, afterSteps = 0): void {
    const process = this.#process;
    if (!process) return;
    if (afterSteps > 0) {
      process.dieAfter(afterSteps);
      return;
    }
    this.#kernel.machine.end(process.party);
    this.#stop.abort();
    this.#process = undefined;
    this.#sentinel = undefined;
    this.#lastWatch = undefined;
    this.#fault(`the sentinel is killed, its state is ${fate}`);
    for (const volume of this.#claims.keys()) this.#claim(volume, undefined);
    this.#away();
    if (fate === 'kept') return;
    this.#lines = fate === 'lost' ? [] : ['{"watch":', '\u0000\u0000'];
    this.#isInformed = false;
    this.#told.toWatch.clear();
    this.#persons();
  }

  freeze(): void {
    if (!this.#process) return;
    this.#fault('the sentinel is frozen');
    this.#kernel.machine.freeze(this.#process.party, 'signal');
    this.#away();
  }

  thaw(): void {
    if (!this.#process) return;
    this.#kernel.machine.thaw(this.#process.party, 'signal');
    this.#fault('the sentinel is thawed');
    if (this.#isInformed) this.#back();
  }

  /** Without state, nobody knows which of the stopped containers a person had paused. */
  #persons(): void {
    for (const container of this.#engine.containers.values()) {
      const { id, isPaused, user } = container;
      const isBerths = user.isTouched || this.#engine.berthsPauses.has(id);
      if (isPaused || isBerths) container.isPersons = 'unknown';
    }
  }

  #checkMemory({ volumes }: SentinelReport): void {
    for (const volume of this.#told.toWatch) {
      if (!(volume in volumes)) this.#record({ kind: 'forgot', host: this.#host, volume });
    }
  }

  #noteRelease(key: string): void {
    const user = this.#kernel.users.get(key);
    const isDying = user?.tasks.every((task) => task.isDying || task.hasEnded) ?? true;
    const against = user && !isDying ? this.#told.against(user) : [];
    this.#record({ kind: 'let run', host: this.#host, user: key, against });
  }

  #sample(process: SimulatedProcess): void {
    if (process.isGone || !this.#sentinel) return;
    const { volumes } = this.#sentinel.report(1);
    for (const volume in volumes) this.#claim(volume, volumes[volume]);
    for (const volume of this.#claims.keys())
      if (!(volume in volumes)) this.#claim(volume, undefined);
  }

  #claim(volume: string, is: Claim | undefined): void {
    if (this.#claims.get(volume) === is) return;
    if (is === undefined) this.#claims.delete(volume);
    else this.#claims.set(volume, is);
    this.#record({ kind: 'claimed', host: this.#host, volume, is });
  }

  #away(): void {
    this.#kernel.newcomers.excuseAll(reason, Number.POSITIVE_INFINITY);
  }

  #back(): void {
    const { newcomers } = this.#kernel;
    newcomers.excuseAll(reason, newcomers.reactionMs);
  }

  #fault(what: string): void {
    this.#record({ kind: 'fault', host: this.#host, what });
  }

  #bug(error: unknown): void {
    const message = Error.isError(error) ? (error.stack ?? error.message) : String(error);
    this.#record({ kind: 'bug', message: `the sentinel of ${this.#host} ends: ${message}` });
  }

  #file(): StateFile {
    return {
      read: () => [...this.#lines],
      append: (line) => {
        this.#lines.push(line);
        return true;
      },
      replace: (line) => {
        this.#lines = [line];
        return true;
      },
    };
  }
}
