import { longTailed, randomStream } from '../random.ts';
import type { Scheduler } from '../scheduler.ts';
import type {
  KillSentinelCommand,
  PersonCommand,
  RunCommand,
  UseCommand,
  VolumeName,
} from './commands.ts';
import { DaemonDisk } from './daemon-disk.ts';
import type { Record } from './history.ts';
import { kernelName, unfenced } from './history.ts';
import { Kernel, reactionMs } from './kernel.ts';
import type { PauseSight } from './machine.ts';
import { Machine } from './machine.ts';
import { SentinelHost } from './sentinel-host.ts';
import type { MakeSentinel } from './sentinel-under-test.ts';
import { SimulatedDaemon } from './simulated-daemon.ts';
import type { Container } from './simulated-engine.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import type { SimulatedStore } from './simulated-store.ts';

export interface SimulatedHostOptions {
  readonly name: string;
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly store: SimulatedStore;
  readonly record: Record;
  readonly make: MakeSentinel;
  readonly fenceHostProcesses: boolean;
}

/** How long writers may run after the clocks of their machine have jumped. */
export const jumpReactionMs = 600;

/** One host: a machine with a kernel, an engine, a daemon and a sentinel. */
export class SimulatedHost {
  readonly name: string;
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly engine: SimulatedEngine;
  readonly sentinel: SentinelHost;
  readonly disk: DaemonDisk;
  daemon: SimulatedDaemon | undefined;
  isConnected = true;
  readonly #options: SimulatedHostOptions;
  readonly #random: () => number;
  /** The last pause that only the time of day shows ended then. */
  #jumpedAtMs = Number.NEGATIVE_INFINITY;
  /** The time of day was set while the machine stood still: that may hide the pause. */
  #setInPause = false;
  #daemons = 0;
  #names = 0;

  constructor(options: SimulatedHostOptions) {
    this.#options = options;
    this.name = options.name;
    const { name, seed, scheduler, record, make } = options;
    this.#random = randomStream(seed, `${name} host`);
    this.machine = new Machine({ name, seed, scheduler });
    const onEnd: ConstructorParameters<typeof Kernel>[0]['onEnd'] = (user) =>
      this.engine.noticeEnd(user);
    this.kernel = new Kernel({ machine: this.machine, seed, record, onEnd });
    this.engine = new SimulatedEngine({ kernel: this.kernel, seed, record });
    const { kernel, engine } = this;
    this.sentinel = new SentinelHost({ kernel, engine, make, record, seed });
    this.disk = new DaemonDisk(name);
    this.startDaemon({ isForgetful: false });
  }

  startDaemon({ isForgetful }: { isForgetful: boolean }): void {
    if (this.daemon) return;
    this.#daemons += 1;
    this.daemon = new SimulatedDaemon({
      ...this.#options,
      number: this.#daemons,
      kernel: this.kernel,
      engine: this.engine,
      sentinel: this.sentinel,
      disk: this.disk,
      isConnected: () => this.isConnected,
      isForgetful,
    });
  }

  killDaemon(what: string): void {
    if (!this.daemon) return;
    this.fault(what);
    this.machine.end(this.daemon.party);
    this.daemon = undefined;
  }

  loseTable(): void {
    this.killDaemon('the daemon is killed, and its table is lost');
    this.disk.rows.clear();
    this.disk.released = [];
  }

  pause(): void {
    if (this.machine.isPaused) return;
    this.fault('the machine stands still');
    this.machine.pause();
    this.#excuse(Number.POSITIVE_INFINITY);
    this.kernel.updateAll();
  }

  resume(sight: PauseSight): void {
    if (!this.machine.isPaused) return;
    this.fault(`the machine goes on; its pause is ${sight}`);
    this.machine.resume(sight);
    this.kernel.updateAll();
    const { now } = this.#options.scheduler;
    if (sight === 'time of day') this.#jumpedAtMs = now;
    const showsJump = this.sentinel.isInformed && !this.#setInPause;
    this.#setInPause = false;
    const isSeen = sight === 'counted' || (sight === 'time of day' && showsJump);
    if (isSeen) this.#excuse(now + jumpReactionMs);
    if (isSeen) this.#excuseSlowDisks();
    else {
      this.#excuse(now);
      this.hideJump();
    }
  }

  /** Excuses the host for a pause that only the store can tell: its deadlines are too late. */
  hideJump(): void {
    if (this.machine.isPaused) return;
    const untilMs = this.#options.scheduler.now + this.#options.store.ttlMs + reactionMs;
    this.#excuse(untilMs, 'the clocks do not show a pause');
  }

  slowDown(volume: VolumeName, ms: number | undefined): void {
    const mount = this.kernel.mountOf(volume);
    if (!mount) return;
    if (ms !== undefined) this.fault(`the disk of ${volume} is slow`);
    mount.slowMs = ms;
    if (this.#hasJustJumped) this.#excuseSlowDisks();
  }

  /**
   * After a jump of the clocks a file system that is slow to freeze is not shut down before its
   * deadline: the jump may mean nothing, and a shutdown loses data.
   */
  #excuseSlowDisks(): void {
    if ([...this.kernel.mounts].every(({ slowMs, isHung }) => slowMs === undefined && !isHung))
      return;
    const untilMs = this.#options.scheduler.now + this.#options.store.ttlMs + reactionMs;
    const why = 'its disk is slow after a jump';
    this.#options.record({ kind: 'excused', host: this.name, user: kernelName, untilMs, why });
  }

  setTimeOfDay(byMs: number): void {
    this.fault('the time of day is set');
    this.machine.jumpTimeOfDay(byMs);
    this.#setInPause ||= this.machine.isPaused;
    if (this.#hasJustJumped) this.hideJump();
  }

  /** A sentinel without state does not know the clock from before. */
  killSentinel({ state, steps }: KillSentinelCommand): void {
    this.sentinel.kill(state, steps);
    if (state !== 'kept' && this.#hasJustJumped) this.hideJump();
  }

  get #hasJustJumped(): boolean {
    return this.#options.scheduler.now - this.#jumpedAtMs < this.#options.store.ttlMs;
  }

  run({ volumes, tasks, count }: RunCommand): void {
    for (let each = 0; each < count; each += 1) {
      const id = this.#newName('c');
      void this.#mount(id, volumes).then((isMounted) => {
        if (isMounted) this.engine.start(id, volumes, tasks);
      });
    }
  }

  /** Something that is no container of the volume begins to use it. */
  use({ by, volume, ms }: UseCommand): void {
    const mount = this.kernel.mountOf(volume);
    if (!mount) return;
    // A sidecar gets it from a process that runs; an engine copies to a container that it knows.
    const users = [...this.kernel.users.values()].filter((user) => user.uses(volume));
    if (by === 'sidecar' && !users.some((user) => user.canRun)) return;
    if (by === 'engine' && !users.some(({ options }) => options.kind === 'container')) return;
    const kind = by === 'sidecar' ? 'container' : by;
    const id = this.#newName(by);
    if (by === 'host' && !this.#options.fenceHostProcesses) this.#leaveAlone(`/${by}/${id}`);
    const user = this.kernel.add({
      kind,
      key: `/${by}/${id}`,
      id: by === 'sidecar' ? id : undefined,
      mounts: [mount],
      tasks: 1,
    });
    this.#options.record({
      kind: 'person',
      host: this.name,
      user: user.key,
      does: `use ${volume}`,
    });
    const end = () => {
      // A process that is frozen goes on with its work when it is thawed.
      if (user.hasEnded) return;
      if (user.canRun) this.kernel.end(user);
      else this.#options.scheduler.after(500, this.kernel.party, 'timer', end);
    };
    this.#options.scheduler.after(ms, this.kernel.party, 'timer', end);
  }

  sleep(volume: VolumeName, ms: number): void {
    for (const user of this.kernel.users.values()) {
      const task = user.tasks.find(({ hasEnded, isHeld }) => !hasEnded && !isHeld);
      if (!task || user.isFrozen || !user.uses(volume)) continue;
      this.kernel.sleep(user, task, ms);
      return;
    }
  }

  /** A sentinel that can't look knows only those users that it has seen before. */
  blind(isBlind: boolean): void {
    this.sentinel.extraScanMs = isBlind ? undefined : 0;
    const { now } = this.#options.scheduler;
    const untilMs = isBlind ? Number.POSITIVE_INFINITY : now + reactionMs;
    this.#excuse(untilMs, 'users can not be looked for');
  }

  /** A person gives a command to the engine. */
  command({ does, container: index }: PersonCommand): void {
    const containers = [...this.engine.containers.values()];
    const container = containers[index % Math.max(1, containers.length)];
    if (!container) return;
    const isBerths = container.user.isTouched;
    const done = () => {
      const { user } = container;
      this.#options.record({ kind: 'person', host: this.name, user: user.key, does });
    };
    const work = async () => {
      const { id } = container;
      if (does === 'restart') return this.#restart(container);
      if (does === 'stop') return this.engine.stop(id, 1_000);
      await this.engine.request(() => this.engine[does](id));
      if (does === 'unpause') container.isPersons = false;
      if (does === 'pause')
        container.isPersons = isBerths || container.user.isTouched ? 'unknown' : true;
    };
    void work().then(done, () => undefined);
  }

  fault(what: string): void {
    this.#options.record({ kind: 'fault', host: this.name, what });
  }

  async #restart(container: Container): Promise<void> {
    await this.engine.stop(container.id, 1_000);
    while (container.isRunning) await this.#wait(200);
    if (!(await this.#mount(container.id, container.volumes as VolumeName[]))) return;
    if (!container.isRunning) this.engine.startAgain(container);
  }

  async #mount(id: string, volumes: readonly VolumeName[]): Promise<boolean> {
    await this.#wait(longTailed(this.#random, 5, 300));
    return (await this.daemon?.mount(id, volumes)) ?? false;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.scheduler.after(ms, this.engine.party, 'timer', resolve);
    });
  }

  #newName(prefix: string): string {
    this.#names += 1;
    return `${prefix}${this.#names}`;
  }

  #leaveAlone(user: string): void {
    const untilMs = Number.POSITIVE_INFINITY;
    this.#options.record({ kind: 'excused', host: this.name, user, untilMs, why: unfenced });
  }

  #excuse(untilMs: number, why = 'the machine stood still'): void {
    this.#options.record({ kind: 'excused', host: this.name, user: undefined, untilMs, why });
  }
}
