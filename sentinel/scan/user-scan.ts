import { readMountsAt } from '../../lib/linux/mountinfo.ts';
import { processFileSync, processIdsSync, processStatSync } from '../../lib/linux/proc.ts';
import type { MountedVolume, ProcessRef, User, UserScan, VolumeIdentity } from '../ports.ts';
import type { ScannedContainer } from './containers.ts';
import { Containers } from './containers.ts';
import { firstProcesses } from './first-processes.ts';
import type { HeldGroup } from './held-groups.ts';
import { heldGroups } from './held-groups.ts';
import { DeviceQuestions } from './links.ts';
import type { Reading } from './readings.ts';
import { Readings } from './readings.ts';
import { Scan } from './scan.ts';
import { ThisHost } from './this-host.ts';
import { Turns } from './turns.ts';
import { keyOf, UserList } from './user-list.ts';
import { identityIn } from './volume-views.ts';

export interface KernelUserScanOptions {
  /**
   * Returns the process ID of the daemon, whose own work in a volume (copies, snapshots) is no use of
   * it. By default, the process that started this one, if it runs the same program.
   */
  readonly daemon?: () => number | undefined;
  /** How often a walk over all processes reports whom it has found so far; 200 ms by default. */
  readonly partMs?: number;
}

/** Finds users of volumes by what the kernel says of processes; README.md says how. */
export class KernelUserScan implements UserScan {
  readonly #options: KernelUserScanOptions;
  readonly #readings = new Readings();
  readonly #questions = new DeviceQuestions();

  constructor(options: KernelUserScanOptions = {}) {
    this.#options = options;
  }

  async identitiesAt(mountpoints: readonly string[]): Promise<ReadonlyMap<string, VolumeIdentity>> {
    const found = await readMountsAt(new Set(mountpoints));
    return new Map(
      [...found].flatMap(([mountpoint, mounts]) => {
        const identity = identityIn(mounts, mountpoint);
        return identity ? [[mountpoint, identity]] : [];
      }),
    );
  }

  async users(
    volumes: readonly MountedVolume[],
    onFound?: (users: readonly User[]) => void,
  ): Promise<readonly User[]> {
    const host = this.#host();
    const scan = new Scan(host, volumes, this.#questions);
    if (scan.sought.length === 0) return [];
    const walk: Walk = { host, scan, containers: new Containers(host), turns: new Turns() };
    const early = new UserList();
    if (onFound) {
      await this.#addPlainUsers(early, walk);
      onFound(early.all(volumes));
    }
    const readings = await this.#readAll(walk, async (part) => {
      if (!onFound) return;
      await addUsers(early, walk, part);
      scan.decideAgain();
      onFound(early.all(volumes));
    });
    const users = new UserList();
    await addUsers(users, walk, readings);
    // Whoever sees a process can open its files, by way of /proc/PID/root.
    for (const reading of readings) {
      const shared = users.sharedIn(reading.pidNamespace);
      if (shared.length === 0) continue;
      const container = walk.containers.of(reading.pid);
      if (container?.isOurs) users.addContainer(container, shared);
    }
    return users.all(volumes);
  }

  async plainUsers(volumes: readonly MountedVolume[]): Promise<readonly User[]> {
    const host = this.#host();
    const scan = new Scan(host, volumes, this.#questions);
    if (scan.sought.length === 0) return [];
    const users = new UserList();
    const walk = { host, scan, containers: new Containers(host), turns: new Turns() };
    await this.#addPlainUsers(users, walk);
    return users.all(volumes);
  }

  async held(volumes: readonly MountedVolume[]): Promise<readonly User[]> {
    const host = this.#host();
    const held = [...heldGroups(host)].filter(({ pids }) => pids.some((pid) => host.has(pid)));
    if (held.length === 0) return [];
    const users = new Map((await this.users(volumes)).map((user) => [user.key, user]));
    return held.flatMap(({ pids, ...container }): User[] => {
      const user = heldUser(host, container);
      return user ? [{ ...user, volumes: users.get(user.key)?.volumes ?? [] }] : [];
    });
  }

  /** Finds the containers that show a volume to their first processes: almost all users. */
  async #addPlainUsers(users: UserList, { scan, containers, host, turns }: Walk): Promise<void> {
    for (const pid of firstProcesses(host.groupMounts)) {
      await turns.pause();
      for (const reading of this.#readings.at(pid)) {
        const used = scan.shownTo(reading).map(({ volume }) => volume);
        if (used.length === 0) continue;
        const container = containers.of(pid);
        if (container?.isOurs && !host.isBerth(pid, container)) users.addContainer(container, used);
      }
    }
  }

  #host(): ThisHost {
    return new ThisHost(this.#options.daemon?.());
  }

  /**
   * Reads all processes, in the order of their IDs. Beside many, the first read takes seconds, so what
   * was read since the last part is given to `onPart` now and then.
   */
  async #readAll(
    { scan, containers, turns }: Walk,
    onPart: (part: readonly Reading[]) => Promise<void>,
  ): Promise<Reading[]> {
    const { partMs = usualPartMs } = this.#options;
    const pids = processIdsSync();
    this.#readings.keep(pids);
    const all: Reading[] = [];
    let partBegan = performance.now();
    let partFrom = 0;
    for (const pid of pids) {
      await turns.pause();
      for (const reading of this.#readings.at(pid)) {
        scan.note(reading);
        all.push(reading);
        // Now, because the process may be one of a chain that live for a moment each.
        if (scan.shownTo(reading).length > 0) containers.of(pid);
      }
      if (performance.now() - partBegan < partMs) continue;
      await onPart(all.slice(partFrom));
      [partFrom, partBegan] = [all.length, performance.now()];
    }
    return all;
  }
}

/** A walk takes longer than this only beside thousands of processes that it has not read before. */
const usualPartMs = 200;

/** One walk over all processes, and what it knows. */
interface Walk {
  readonly host: ThisHost;
  readonly scan: Scan;
  readonly containers: Containers;
  readonly turns: Turns;
}

/** Adds those of these tasks that use a volume. */
async function addUsers(users: UserList, walk: Walk, readings: readonly Reading[]): Promise<void> {
  const { host, scan, containers, turns } = walk;
  for (const reading of readings) {
    await turns.pause();
    const shown = scan.shownTo(reading);
    if (shown.length === 0 && (await scan.mayBeHeldBy(reading)).length === 0) continue;
    const container = containers.of(reading.pid);
    if (!(container?.isOurs ?? host.has(reading.pid))) continue;
    const held = await scan.heldBy(reading, container ? 'inContainer' : 'onHost');
    const used = [...new Set([...shown, ...held])].map(({ volume }) => volume);
    if (used.length === 0 || host.isBerth(reading.pid, container)) continue;
    addUser(users, { host, container, reading, used, shows: shown.length > 0 });
  }
}

interface Use {
  readonly host: ThisHost;
  readonly container: ScannedContainer | undefined;
  readonly reading: Reading;
  readonly used: readonly string[];
  /** True if the task has the volume in mounts of its own. */
  readonly shows: boolean;
}

function addUser(users: UserList, { host, container, reading, used, shows }: Use): void {
  const { pid, tid, pidNamespace } = reading;
  if (container) {
    users.addContainer(container, used);
    if (!host.hasPidNamespace(pidNamespace)) users.share(pidNamespace, used);
  } else if (host.isEngine(pid)) {
    // Only a thread with mounts of its own does its work alone.
    users.addEngine(processOf(shows ? { pid, tid } : { pid }), used);
  } else {
    users.addHost(processOf({ pid }), used);
  }
}

/** Returns who is held in a group; undefined if the process has ended meanwhile. */
function heldUser(
  host: ThisHost,
  { process: held, ...container }: Omit<HeldGroup, 'pids'>,
): Omit<User, 'volumes'> | undefined {
  if (!held) return { kind: 'container', ...container };
  const process = processOf(held);
  const kind = host.isEngine(held.pid) ? 'engine' : 'host';
  return process && { kind, key: keyOf(process), process };
}

function processOf({ pid, tid }: Pick<Reading, 'pid' | 'tid'>): ProcessRef | undefined {
  const started = processStatSync(tid === undefined ? pid : `${pid}/task/${tid}`)?.started;
  const name = processFileSync(pid, 'comm')?.trim();
  if (started === undefined || name === undefined) return undefined;
  return { pid, tid, started, name };
}
