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
import { unfenced } from './history.ts';
import { Kernel } from './kernel.ts';
import { Machine } from './machine.ts';
import { MachinePauses } from './machine-pauses.ts';
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

/** How long after its release a person's pause can't be told from a late one of the engine. */
const latePauseMs = 6_000;

/** How much longer a scan takes on a machine with many thousand processes. */
const crowdMs = 4_000;

/** One host: a machine with a kernel, an engine, a daemon and a sentinel. */
export class SimulatedHost {
  readonly name: string;
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly engine: SimulatedEngine;
  readonly sentinel: SentinelHost;
  readonly disk: DaemonDisk;
  readonly pauses: MachinePauses;
  daemon: SimulatedDaemon | undefined;
  isConnected = true;
  readonly #options: SimulatedHostOptions;
  readonly #random: () => number;
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
    const { ttlMs } = options.store;
    this.pauses = new MachinePauses({ kernel, sentinel: this.sentinel, ttlMs, record });
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

  /** A sentinel without state does not know the clock from before. */
  killSentinel({ state, steps }: KillSentinelCommand): void {
    this.sentinel.kill(state, steps);
    if (state !== 'kept') this.pauses.loseClock();
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
    if (!mount || this.machine.isPaused) return;
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
      const task = user.tasks.find((each) => !each.hasEnded && !user.isStopped(each));
      if (!task || !user.uses(volume)) continue;
      this.kernel.sleep(user, task, ms);
      return;
    }
  }

  /** A sentinel that can't look knows only those users that it has seen before. */
  blind(isBlind: boolean): void {
    this.sentinel.extraScanMs = isBlind ? undefined : 0;
    const { newcomers } = this.kernel;
    const ms = isBlind ? Number.POSITIVE_INFINITY : newcomers.reactionMs;
    newcomers.excuseAll('users can not be looked for', ms);
  }

  /** Adds or removes so many processes that only users known before are stopped in time. */
  crowd(isCrowded: boolean): void {
    if (isCrowded) this.kernel.newcomers.crowd(crowdMs);
    else this.kernel.newcomers.disperse();
    this.sentinel.extraScanMs = isCrowded ? crowdMs : 0;
  }

  /** A person gives a command to the engine. */
  command({ does, container: index }: PersonCommand): void {
    const containers = [...this.engine.containers.values()];
    const container = containers[index % Math.max(1, containers.length)];
    if (!container) return;
    // After a release a pause may be a late one that the sentinel asked for, for some seconds, and
    // until the engine has answered for as long.
    const mayBeBerths = ({ user }: Container) =>
      user.isTouched ||
      user.hasHeldGroup ||
      this.sentinel.mayHaveMeant(user) ||
      this.#options.scheduler.now - user.releasedAt < latePauseMs;
    const wasBerths = mayBeBerths(container);
    const done = () => {
      const { user } = container;
      this.#options.record({ kind: 'person', host: this.name, user: user.key, does });
    };
    const work = async () => {
      const { id } = container;
      if (does === 'restart') return this.#restart(container);
      if (does === 'stop') {
        await this.engine.stop(id, 1_000);
        container.isPersons = false;
        return;
      }
      await this.engine.request(() => this.engine[does](id));
      if (does === 'unpause') container.isPersons = false;
      if (does === 'pause')
        container.isPersons = wasBerths || mayBeBerths(container) ? 'unknown' : true;
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
}
