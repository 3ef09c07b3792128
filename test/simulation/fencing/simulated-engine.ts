import { EngineRefusalError } from '../../../sentinel/engine-calls.ts';
import { longTailed, randomStream } from '../random.ts';
import type { Party } from '../scheduler.ts';
import type { Record } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { KernelUser } from './kernel-user.ts';

/** A container, which the engine can start again. */
export interface Container {
  readonly id: string;
  readonly volumes: readonly string[];
  readonly tasks: number;
  user: KernelUser;
  isRunning: boolean;
  /** The engine says that it is paused. */
  isPaused: boolean;
  /**
   * A person paused it. `unknown`: a person and berth both did, in an order that nothing has kept,
   * so it may stay paused or not.
   */
  isPersons: boolean | 'unknown';
}

/** How long the engine waits until all processes of a container have frozen. */
const freezeLimitMs = 500;

/**
 * A container engine: it works off one request after another, and goes on with those that nobody
 * waits for any more.
 */
export class SimulatedEngine {
  readonly party: Party;
  readonly containers = new Map<string, Container>();
  /** The IDs of containers that it has still to pause for berth. */
  readonly berthsPauses = new Set<string>();
  readonly #kernel: Kernel;
  readonly #random: () => number;
  readonly #record: Record;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: { kernel: Kernel; seed: number; record: Record }) {
    this.#kernel = options.kernel;
    this.#record = options.record;
    this.party = options.kernel.machine.party('engine');
    this.#random = randomStream(options.seed, `${options.kernel.machine.name} engine`);
  }

  /** Starts a container whose volumes are mounted. */
  start(id: string, volumes: readonly string[], tasks: number): Container {
    const user = this.#startProcesses(id, volumes, tasks);
    const container = {
      id,
      volumes,
      tasks,
      user,
      isRunning: true,
      isPaused: false,
      isPersons: false,
    };
    this.containers.set(id, container);
    return container;
  }

  startAgain(container: Container): void {
    container.user = this.#startProcesses(container.id, container.volumes, container.tasks);
    container.isRunning = true;
  }

  /** Notices that the processes of a container have ended. */
  noticeEnd(user: KernelUser): void {
    this.#later(longTailed(this.#random, 1, 100), () => {
      for (const container of this.containers.values()) {
        if (container.user !== user || !container.isRunning) continue;
        container.isRunning = false;
        container.isPaused = false;
        container.isPersons = false;
      }
    });
  }

  /** Runs a request after those before it; rejects as the engine answers. */
  request<T>(work: () => T | Promise<T>): Promise<T> {
    const run = this.#last.then(async () => {
      await this.#wait(longTailed(this.#random, 3, 60));
      return work();
    });
    this.#last = run.catch(() => undefined);
    return run;
  }

  /** The same for a pause by berth: until it is done, nothing else shows that berth asked for it. */
  async pauseForBerth(id: string): Promise<void> {
    this.berthsPauses.add(id);
    await this.request(() => this.pause(id)).finally(() => this.berthsPauses.delete(id));
  }

  /** Requests that wait for nothing but an answer. */
  async inspect(id: string): Promise<Container | undefined> {
    await this.#wait(longTailed(this.#random, 1, 20));
    return this.containers.get(id);
  }

  async pause(id: string): Promise<void> {
    const { user, container } = this.#running(id);
    if (container.isPaused) throw new EngineRefusalError(409, `Container ${id} is already paused`);
    this.#kernel.setFrozen(user, true);
    const sleeps = () =>
      user.tasks.some(
        (task) =>
          !(task.isHeld && user.isHeldGroupFrozen) &&
          !task.hasEnded &&
          (task.isSleeping || task.isBlocked),
      );
    for (let ms = 0; ms < freezeLimitMs && sleeps(); ms += 50) await this.#wait(50);
    if (sleeps()) {
      if (!user.isAskedByBerth) this.#kernel.setFrozen(user, false);
      throw new EngineRefusalError(409, `Cannot pause container ${id}: unable to freeze`);
    }
    this.#running(id); // It may have ended meanwhile.
    container.isPaused = true;
    this.#did(container, 'pause');
  }

  async unpause(id: string): Promise<void> {
    const { user, container } = this.#running(id);
    if (!container.isPaused) throw new EngineRefusalError(409, `Container ${id} is not paused`);
    if (!user.isFrozen)
      throw new EngineRefusalError(409, `Cannot unpause container ${id}: it is not frozen`);
    this.#kernel.setFrozen(user, false);
    container.isPaused = false;
    this.#did(container, 'unpause');
  }

  /** Asks the processes to end; kills them when they have not. */
  async stop(id: string, graceMs: number): Promise<void> {
    const { user, container } = this.#running(id);
    this.#did(container, 'stop');
    if (container.isPaused) await this.unpause(id);
    const endsAt = this.#kernel.machine.scheduler.now + graceMs;
    const needsMs = longTailed(this.#random, 10, 2_000);
    this.#later(needsMs, () => {
      if (user.canRun) this.#kernel.end(user);
    });
    while (this.#kernel.machine.scheduler.now < endsAt && !user.hasEnded) await this.#wait(100);
    if (!user.hasEnded) await this.kill(id);
  }

  async kill(id: string): Promise<void> {
    const { user, container } = this.#running(id);
    this.#did(container, 'kill');
    if (container.isPaused) {
      container.isPaused = false;
      this.#kernel.setFrozen(user, false);
    }
    this.#kernel.kill(user);
  }

  async exec(id: string): Promise<void> {
    const { user, container } = this.#running(id);
    if (container.isPaused)
      throw new EngineRefusalError(409, `Container ${id} is paused, unpause it before exec`);
    this.#did(container, 'exec');
    this.#kernel.exec(user);
  }

  #running(id: string): { container: Container; user: KernelUser } {
    const container = this.containers.get(id);
    if (!container?.isRunning || container.user.hasEnded) {
      throw new EngineRefusalError(409, `Container ${id} is not running`);
    }
    return { container, user: container.user };
  }

  #startProcesses(id: string, volumes: readonly string[], tasks: number): KernelUser {
    const mounts = volumes.flatMap((volume) => this.#kernel.mountOf(volume) ?? []);
    return this.#kernel.add({ kind: 'container', key: `/docker/${id}`, id, mounts, tasks });
  }

  #did({ user }: Container, does: string): void {
    this.#record({ kind: 'engine', host: this.#kernel.machine.name, user: user.key, does });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#later(ms, resolve));
  }

  #later(ms: number, run: () => void): void {
    this.#kernel.machine.scheduler.after(ms, this.party, 'timer', run);
  }
}
