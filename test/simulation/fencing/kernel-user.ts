import type { User } from '../../../sentinel/ports.ts';
import type { SimulatedMount } from './simulated-mount.ts';

/** A process of a user. */
export interface Task {
  /** In uninterruptible sleep: it does not run, and can't be frozen or killed, until it wakes. */
  isSleeping: boolean;
  /** The same, because it waits for the storage of one of its volumes. */
  isBlocked: boolean;
  /** The sentinel's own group, which no engine knows, has it. */
  isHeld: boolean;
  /** SIGKILL is pending: it never runs again. */
  isDying: boolean;
  /** The kernel is ending it. */
  isEnding: boolean;
  hasEnded: boolean;
}

export function newTask(): Task {
  return {
    isSleeping: false,
    isBlocked: false,
    isHeld: false,
    isDying: false,
    isEnding: false,
    hasEnded: false,
  };
}

export interface KernelUserOptions {
  readonly kind: User['kind'];
  readonly key: string;
  /** The engine's ID of a container. */
  readonly id?: string | undefined;
  /** The version of the control groups. */
  readonly groups: 1 | 2;
  readonly mounts: readonly SimulatedMount[];
  readonly tasks: number;
}

/**
 * A user of volumes as the kernel knows it: processes in a control group. The group can be frozen by
 * its engine and by berth, which then moves the processes to a frozen group inside it (`hold`).
 */
export class KernelUser {
  readonly options: KernelUserOptions;
  readonly tasks: Task[];
  readonly mounts: Set<SimulatedMount>;
  /** True if it has appeared after a crowd: a walk over all processes comes to it at its end. */
  isBehindCrowd = false;
  /** The freeze of the container's own group was requested. */
  isFrozen = false;
  /** Berth has made a group inside its own, which shows a successor that berth has held it. */
  hasHeldGroup = false;
  /** The freeze of that group was requested. */
  isHeldGroupFrozen = false;
  /** Berth told it to freeze, and has not moved the processes yet. */
  isAskedByBerth = false;
  /** When berth told it to freeze, in the storage's time. */
  askedAt = 0;
  /** When berth released it last, in the storage's time. */
  releasedAt = Number.NEGATIVE_INFINITY;
  /** The volumes that it writes to, as last recorded. */
  readonly writing = new Set<string>();

  constructor(options: KernelUserOptions) {
    this.options = options;
    this.tasks = Array.from({ length: options.tasks }, newTask);
    this.mounts = new Set(options.mounts);
  }

  get key(): string {
    return this.options.key;
  }

  get hasEnded(): boolean {
    return this.tasks.every(({ hasEnded }) => hasEnded);
  }

  /** Returns true if the sentinel has changed something of its group. */
  get isTouched(): boolean {
    const hasHeld = this.tasks.some(({ isHeld, hasEnded }) => isHeld && !hasEnded);
    return this.isAskedByBerth || (this.isHeldGroupFrozen && hasHeld);
  }

  /** Returns true if the group of the process is frozen, or the one around it. */
  isStopped({ isHeld }: Task): boolean {
    return this.isFrozen || (isHeld && this.isHeldGroupFrozen);
  }

  /** Returns true if a process can run. */
  get canRun(): boolean {
    return this.tasks.some((task) => {
      const { hasEnded, isDying, isSleeping, isBlocked } = task;
      return !hasEnded && !isDying && !isSleeping && !isBlocked && !this.isStopped(task);
    });
  }

  uses(volume: string): boolean {
    for (const mount of this.mounts) if (mount.volume === volume) return true;
    return false;
  }

  /** Looks whether its processes wait for storage; call it when a mount or a freeze has changed. */
  block(): void {
    const isBlocked = [...this.mounts].some((mount) => this.#waitsFor(mount));
    for (const task of this.tasks) {
      // What stands still already does not begin to wait, and what waits goes on until it ends.
      const isStill = this.isStopped(task) || task.isSleeping;
      if (!isBlocked) task.isBlocked = false;
      else if (!isStill) task.isBlocked = true;
    }
  }

  /** Version 1 freezes a process that waits for a frozen file system; version 2 does not. */
  #waitsFor(mount: SimulatedMount): boolean {
    return mount.blocks && (this.options.groups === 2 || mount.isHung);
  }

  /** Returns it as a scan reports it, with those of its volumes. */
  asUser(volumes: readonly string[]): User {
    const { kind, key, id, groups } = this.options;
    const process = { pid: 1, started: '1', name: key };
    return {
      kind,
      key,
      ...(id !== undefined && { id }),
      ...(kind === 'container' ? { group: { path: key, version: groups } } : { process }),
      volumes,
    };
  }
}
