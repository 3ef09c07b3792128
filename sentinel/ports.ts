import type { ControlGroup } from '../lib/linux/control-group.ts';
import type { Mount } from '../lib/linux/mountinfo.ts';

/*
 * What the sentinel needs from the machine. Its decisions know nothing else of it, so that
 * test/simulation/fencing can play a whole machine in virtual time.
 */

/** Identifies a volume's content in any mount table. */
export type VolumeIdentity = Pick<Mount, 'device' | 'root'>;

export interface MountedVolume {
  readonly volume: string;
  /** The mountpoint on this host. */
  readonly mountpoint: string;
  /** The last known mount at the mountpoint; containers may have it when this host has not any more. */
  readonly identity?: VolumeIdentity | undefined;
}

/** A process, or one thread of it, told from a later one with the same ID. */
export interface ProcessRef {
  readonly pid: number;
  /** Set when only this thread uses the volume: an engine copies in a thread of its own process. */
  readonly tid?: number | undefined;
  /** Clock ticks from the boot to its start. */
  readonly started: string;
  /** The program's name, for people. */
  readonly name: string;
}

/**
 * A user can write to a volume, and is stopped as a whole.
 *
 * - `container`: the processes of one control group that are not the host's own.
 * - `engine`: a process or thread that an engine works with (`docker cp`, copy-up of an image).
 * - `host`: a process of the host itself, such as a backup program. It is stopped only where the
 *   operator allows that (`--fence-host-processes`).
 */
export interface User {
  readonly kind: 'container' | 'engine' | 'host';
  /** Names the user among all of this machine: its control group's path, or its process. */
  readonly key: string;
  /** The engine's ID of the container, for calls to the engine. */
  readonly id?: string | undefined;
  /** Undefined where the group can't be reached: then only the engine can act on the container. */
  readonly group?: ControlGroup | undefined;
  /** Set for `engine` and `host`. */
  readonly process?: ProcessRef | undefined;
  /** The names of the volumes asked for that it uses. */
  readonly volumes: readonly string[];
}

export interface UserScan {
  /** Returns what is mounted at each of these paths of this host; a path without a mount is absent. */
  identitiesAt(mountpoints: readonly string[]): Promise<ReadonlyMap<string, VolumeIdentity>>;

  /**
   * Finds all users of these volumes. It asks the kernel, because an engine may hang. Gives up the
   * processor now and then. Rejects when it could not look (too many open files): "nobody uses it"
   * is never concluded from a failed look. Calls `onFound` with the users that are found long
   * before the end, almost all containers at first; it is called again with more.
   */
  users(
    volumes: readonly MountedVolume[],
    onFound?: (users: readonly User[]) => void,
  ): Promise<readonly User[]>;

  /**
   * Finds those containers that `users` reports by `onFound`: almost all, in a small part of its time. It may
   * run beside `users`, which does not see a container that was started after its own beginning.
   */
  plainUsers(volumes: readonly MountedVolume[]): Promise<readonly User[]>;

  /**
   * Finds the containers of this host that a sentinel holds, from the control groups alone: its
   * state may be lost. `volumes` of each are the given ones that it uses.
   */
  held(volumes: readonly MountedVolume[]): Promise<readonly User[]>;
}

/**
 * How a user stands.
 *
 * | `is`       | what is true                                                              |
 * |------------|---------------------------------------------------------------------------|
 * | `running`  | nothing keeps its processes from running                                  |
 * | `freezing` | a freeze was requested; the processes in `sleepers` have not frozen yet,  |
 * |            | all others stand still                                                    |
 * | `frozen`   | all its processes stand still, but its engine can thaw it                 |
 * | `held`     | the same, and no engine can                                               |
 * | `ended`    | it has no process any more                                                |
 */
export type Standing =
  | { readonly is: 'running' | 'frozen' | 'held' | 'ended' }
  | { readonly is: 'freezing'; readonly sleepers: readonly string[] };

/** Stops and releases users through the kernel. Each method is idempotent and never waits long. */
export interface Stops {
  standing(user: User): Promise<Standing>;
  /**
   * Requests the freeze of all its processes in one step: those that it forks later freeze too.
   * Resolves to `found` if somebody else had requested it before: a person's pause.
   */
  freeze(user: User): Promise<'frozen' | 'found'>;
  /**
   * Keeps a frozen user frozen whatever its engine does. What sleeps freezes when it wakes. The
   * container's own group, then empty, is thawed, so that its engine can pause it, unless somebody
   * else had frozen it: a person's pause stays, and this resolves to `found`.
   */
  hold(user: User): Promise<'held' | 'found'>;
  /**
   * Undoes `hold` and `freeze`. With `keepsPause` a freeze that others have requested stays: a person's
   * pause. Without, a successor still finds a container that was held (`UserScan.held`) until `forget`:
   * its engine may show a pause that nothing but the container's group tells.
   */
  release(user: User, keepsPause: boolean): Promise<void>;
  /**
   * Removes what `release` has left: its engine shows it as it is. Resolves to false if something is
   * left: it has to be called again, or the user was stopped again, of which nothing is undone.
   */
  forget(user: User): Promise<boolean>;
  /** Returns true if SIGKILL is pending: a frozen process can't die until it is released. */
  isBeingKilled(user: User): Promise<boolean>;
  /** Returns true if SIGKILL is pending for each of its processes: none of them does anything more. */
  isDying(user: User): Promise<boolean>;
  /** Kills all its processes, frozen or not. They may take a moment to end. */
  kill(user: User): Promise<void>;
}

export interface InspectedContainer {
  readonly name: string;
  readonly isPaused: boolean;
  readonly isRunning: boolean;
}

/** The calls to the engine. Each rejects after its limit, because an engine may hang. */
export interface EngineCalls {
  /** Resolves to undefined if there is no such container. */
  inspect(id: string, limitMs: number): Promise<InspectedContainer | undefined>;
  pause(id: string, limitMs: number): Promise<void>;
  unpause(id: string, limitMs: number): Promise<void>;
  /** Asks the container to stop. The engine kills it after `graceMs`, rounded up to seconds. */
  stop(id: string, graceMs: number): Promise<void>;
  kill(id: string, limitMs: number): Promise<void>;
}

/** A volume's file system. */
export interface WatchedFileSystem {
  readonly mountpoint: string;
  /** True if the volume has a file system of its own, which can be frozen without harm to others. */
  readonly ownsFileSystem: boolean;
}

/** Each method is idempotent, and may take for ever where storage hangs: nothing may wait for it. */
export interface FileSystems {
  /** Writes cached data back to storage. */
  flush(fileSystem: WatchedFileSystem): Promise<void>;
  /**
   * Freezes an own file system: no process and not even the kernel writes to it any more. `found`: it
   * was frozen already, by whom is not known.
   */
  freeze(fileSystem: WatchedFileSystem): Promise<'frozen' | 'found'>;
  /** Resolves when the device of a frozen file system is not changed any more by what was begun before. */
  settle(fileSystem: WatchedFileSystem): Promise<void>;
  /** Shuts an own file system down: cached data are dropped, and every access fails. */
  cutOff(fileSystem: WatchedFileSystem): Promise<void>;
  /** Undoes `freeze`. */
  thaw(fileSystem: WatchedFileSystem): Promise<void>;
}

/** The clocks of the machine. */
export interface MachineClock {
  /** Milliseconds since boot: the clock of the deadlines, which the daemon reads, too. */
  now(): number;
  /** The time of day in milliseconds; it may jump. */
  timeOfDayMs(): number;
  date(): Date;
  /**
   * Resolves after `ms`, at once when the signal aborts (it does not reject), or within 50 ms after
   * the time of day has jumped by a second or more.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Where the sentinel keeps its state: one line per change, for its successor. */
export interface StateFile {
  /** Returns the lines that are there; none if there is no file. */
  read(): readonly string[];
  /**
   * Adds a line; returns false if that failed. Never throws: fencing matters more than a successor's
   * knowledge.
   */
  append(line: string): boolean;
  /** Replaces all lines by this one; returns false if that failed. Never throws. */
  replace(line: string): boolean;
}
