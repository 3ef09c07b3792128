import { longTailed, randomStream } from '../random.ts';
import type { Party } from '../scheduler.ts';
import type { Record } from './history.ts';
import { kernelName } from './history.ts';
import type { KernelUserOptions, Task } from './kernel-user.ts';
import { KernelUser, newTask } from './kernel-user.ts';
import type { Machine } from './machine.ts';
import { Newcomers } from './newcomers.ts';
import type { SimulatedMountOptions } from './simulated-mount.ts';
import { SimulatedMount } from './simulated-mount.ts';

/** A sentinel moves what it froze out of its engine's reach within this time. */
const holdWithinMs = 1_000;

/** The kernel of a host: users with their processes, mounts, and who writes to what. */
export class Kernel {
  readonly machine: Machine;
  readonly party: Party;
  readonly users = new Map<string, KernelUser>();
  readonly mounts = new Set<SimulatedMount>();
  /** The version of the control groups. */
  readonly groups: 1 | 2;
  /** The volumes whose storage does not answer this host. */
  readonly hung = new Set<string>();
  /** Users that no sentinel can stop yet. */
  readonly newcomers: Newcomers;
  readonly #record: Record;
  readonly #random: () => number;
  readonly #onEnd: (user: KernelUser) => void;
  #mountsMade = 0;

  constructor(options: {
    machine: Machine;
    seed: number;
    record: Record;
    onEnd: (user: KernelUser) => void;
  }) {
    this.machine = options.machine;
    this.party = options.machine.party('kernel');
    this.#record = options.record;
    this.#onEnd = options.onEnd;
    this.#random = randomStream(options.seed, `${options.machine.name} kernel`);
    this.groups = this.#random() < 0.7 ? 2 : 1;
    this.newcomers = new Newcomers(this.machine, this.party, options.record);
  }

  get #host(): string {
    return this.machine.name;
  }

  mountAt(mountpoint: string): SimulatedMount | undefined {
    for (const mount of this.mounts) {
      if (mount.isMounted && mount.options.mountpoint === mountpoint) return mount;
    }
    return undefined;
  }

  mountOf(volume: string): SimulatedMount | undefined {
    for (const mount of this.mounts) if (mount.isMounted && mount.volume === volume) return mount;
    return undefined;
  }

  mount(options: Omit<SimulatedMountOptions, 'identity' | 'random'>): SimulatedMount {
    this.#mountsMade += 1;
    // All mounts of a volume without a file system of its own show one directory of one device.
    const device = options.isOwn ? `0:${this.#mountsMade}` : 'pool';
    const identity = { device, root: `/${options.volume}` };
    const mount = new SimulatedMount({ ...options, identity, random: this.#random });
    mount.isHung = this.hung.has(mount.volume);
    this.mounts.add(mount);
    this.#record({ kind: 'mounted', host: this.#host, volume: mount.volume });
    this.changed(mount);
    return mount;
  }

  unmount(mount: SimulatedMount): void {
    mount.isMounted = false;
    this.#forgetUnused(mount);
    this.#record({ kind: 'unmounted', host: this.#host, volume: mount.volume });
    this.changed(mount);
  }

  add(options: Omit<KernelUserOptions, 'groups'>): KernelUser {
    const user = new KernelUser({ ...options, groups: this.groups });
    this.users.set(user.key, user);
    const volumes = options.mounts.map(({ volume }) => volume);
    this.#record({ kind: 'appeared', host: this.#host, user: user.key, volumes });
    user.isBehindCrowd = this.newcomers.isCrowded;
    this.newcomers.excuse(user, 'it has just appeared');
    this.update(user);
    return user;
  }

  /** A process of a container is started by its engine, in the group that the engine knows. */
  exec(user: KernelUser): void {
    // A PID namespace whose first process is being killed takes no other one in.
    const isDying = user.tasks.every((task) => task.isDying || task.hasEnded);
    user.tasks.push({ ...newTask(), isDying });
    this.newcomers.excuse(user, 'a process was just started in it');
    this.update(user);
  }

  /** An engine, or berth, changes the freeze of the container's own group. */
  setFrozen(user: KernelUser, isFrozen: boolean): void {
    const { now } = this.machine.scheduler;
    if (!isFrozen && user.isAskedByBerth && now - user.askedAt < holdWithinMs) {
      this.newcomers.excuse(user, 'its engine thawed it before it was held');
    }
    user.isFrozen = isFrozen;
    this.update(user);
  }

  sleep(user: KernelUser, task: Task, ms: number): void {
    task.isSleeping = true;
    this.#noteSleep('something else', this.machine.scheduler.now + ms);
    this.update(user);
    this.#later(ms, () => this.wake(user, task));
  }

  wake(user: KernelUser, task: Task): void {
    if (!task.isSleeping) return;
    task.isSleeping = false;
    this.#reap(user, task);
    this.update(user);
  }

  /** Sends SIGKILL. In version 1 a frozen process dies only when it is thawed. */
  kill(user: KernelUser): void {
    for (const task of user.tasks) {
      task.isDying = true;
      this.#reap(user, task);
    }
    this.update(user);
  }

  /** All processes end by themselves. */
  end(user: KernelUser): void {
    for (const task of user.tasks) task.hasEnded = true;
    this.update(user);
  }

  /** Records who writes since a change of the user. */
  update(user: KernelUser): void {
    user.block();
    for (const task of user.tasks) this.#reap(user, task);
    const isRunning = user.canRun && !this.machine.isPaused;
    for (const { volume, options, isHung } of user.mounts) {
      const writes = isRunning && !options.isOwn && !isHung;
      if (writes === user.writing.has(volume)) continue;
      if (writes) user.writing.add(volume);
      else user.writing.delete(volume);
      const kind = writes ? 'writing' : 'still';
      this.#record({ kind, host: this.#host, volume, user: user.key });
    }
    // A container that was started again has the same key.
    if (user.hasEnded && this.users.get(user.key) === user) {
      this.users.delete(user.key);
      this.newcomers.forget(user);
      this.#record({ kind: 'ended', host: this.#host, user: user.key });
      for (const mount of user.mounts) this.#forgetUnused(mount);
      this.#onEnd(user);
    }
  }

  /** Records what a change of a mount lets the kernel and the users write. */
  changed(mount: SimulatedMount): void {
    const { volume } = mount;
    this.#record({ kind: 'file system', host: this.#host, volume, is: mount.describe() });
    this.#updateMount(mount);
    for (const user of [...this.users.values()]) if (user.mounts.has(mount)) this.update(user);
  }

  /** Looks at everything again: the machine was paused or continues. */
  updateAll(): void {
    for (const mount of this.mounts) this.#updateMount(mount);
    for (const user of [...this.users.values()]) this.update(user);
  }

  setHung(volume: string, isHung: boolean): void {
    if (isHung) this.hung.add(volume);
    else this.hung.delete(volume);
    this.#noteSleep(volume, isHung ? Number.POSITIVE_INFINITY : this.machine.scheduler.now);
    for (const mount of [...this.mounts]) {
      if (mount.volume !== volume || mount.isHung === isHung) continue;
      mount.isHung = isHung;
      this.changed(mount);
    }
  }

  #noteSleep(where: string, untilMs: number): void {
    this.#record({ kind: 'sleeps', host: this.#host, in: where, untilMs });
  }

  #updateMount(mount: SimulatedMount): void {
    const writes = mount.isOpen && !this.machine.isPaused;
    if (writes === mount.isWritten) return;
    mount.isWritten = writes;
    const kind = writes ? 'writing' : 'still';
    this.#record({ kind, host: this.#host, volume: mount.volume, user: kernelName });
  }

  #reap(user: KernelUser, task: Task): void {
    if (!task.isDying || task.isEnding || task.isSleeping || task.isBlocked) return;
    if (this.groups === 1 && user.isStopped(task)) return;
    task.isEnding = true;
    this.#later(longTailed(this.#random, 1, 30), () => {
      task.hasEnded = true;
      this.update(user);
    });
  }

  inUse(mount: SimulatedMount): boolean {
    for (const user of this.users.values()) if (user.mounts.has(mount)) return true;
    return false;
  }

  /** A file system that was unmounted lives on while a process uses it. */
  #forgetUnused(mount: SimulatedMount): void {
    if (mount.isMounted || this.inUse(mount)) return;
    this.mounts.delete(mount);
    mount.isGone = true;
    this.#updateMount(mount);
  }

  #later(ms: number, run: () => void): void {
    this.machine.scheduler.after(ms, this.party, 'timer', run);
  }
}
