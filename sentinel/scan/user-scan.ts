import { processFileSync, processIdsSync, processStatSync } from '../../lib/linux/proc.ts';
import type { MountedVolume, ProcessRef, User, UserScan, VolumeIdentity } from '../ports.ts';
import { Containers } from './containers.ts';
import { heldGroups } from './held-groups.ts';
import { DeviceQuestions } from './links.ts';
import type { Reading } from './readings.ts';
import { Readings } from './readings.ts';
import { Scan } from './scan.ts';
import { ThisHost } from './this-host.ts';
import { Turns } from './turns.ts';
import { UserList } from './user-list.ts';
import { identityIn } from './volume-views.ts';

export interface KernelUserScanOptions {
  /**
   * Returns the process ID of the daemon, whose own work in a volume (copies, snapshots) is no use of
   * it. By default, the process that started this one, if it runs the same program.
   */
  readonly daemon?: () => number | undefined;
}

/** Finds users of volumes by what the kernel says of processes; README.md says how. */
export class KernelUserScan implements UserScan {
  readonly #options: KernelUserScanOptions;
  readonly #readings = new Readings();
  readonly #questions = new DeviceQuestions();

  constructor(options: KernelUserScanOptions = {}) {
    this.#options = options;
  }

  async identityAt(mountpoint: string): Promise<VolumeIdentity | undefined> {
    return identityIn(this.#host().mounts, mountpoint);
  }

  async users(volumes: readonly MountedVolume[]): Promise<readonly User[]> {
    const host = this.#host();
    const scan = new Scan(host, volumes, this.#questions);
    if (scan.sought.length === 0) return [];
    const turns = new Turns();
    const containers = new Containers(host);
    const readings = await this.#readAll(scan, containers, turns);
    const users = new UserList();
    for (const reading of readings) {
      await turns.pause();
      const shown = scan.shownTo(reading);
      if (shown.length === 0 && (await scan.mayBeHeldBy(reading)).length === 0) continue;
      const container = containers.of(reading.pid);
      if (!(container?.isOurs ?? host.has(reading.pid))) continue;
      const held = await scan.heldBy(reading, container ? 'inContainer' : 'onHost');
      const used = [...new Set([...shown, ...held])].map(({ volume }) => volume);
      if (used.length === 0 || host.isBerth(reading.pid, container)) continue;
      if (container) {
        users.addContainer(container, used);
        if (!host.hasPidNamespace(reading.pidNamespace)) users.share(reading.pidNamespace, used);
      } else if (host.isEngine(reading.pid)) {
        // Only a thread with mounts of its own does its work alone.
        const { pid, tid } = reading;
        users.addEngine(processOf(shown.length > 0 ? { pid, tid } : { pid }), used);
      } else {
        users.addHost(processOf({ pid: reading.pid }), used);
      }
    }
    // Whoever sees a process can open its files, by way of /proc/PID/root.
    for (const reading of readings) {
      const shared = users.sharedIn(reading.pidNamespace);
      if (shared.length === 0) continue;
      const container = containers.of(reading.pid);
      if (container?.isOurs) users.addContainer(container, shared);
    }
    return users.all(volumes);
  }

  async held(volumes: readonly MountedVolume[]): Promise<readonly User[]> {
    const host = this.#host();
    const scan = new Scan(host, volumes, this.#questions);
    const users: User[] = [];
    for (const { pids, ...user } of heldGroups(host)) {
      if (!pids.some((pid) => host.has(pid))) continue;
      const readings = pids.flatMap((pid) => this.#readings.at(pid));
      for (const reading of readings) scan.note(reading);
      const used = new Set<string>();
      for (const reading of readings) {
        const held = await scan.heldBy(reading, 'inContainer');
        for (const { volume } of [...scan.shownTo(reading), ...held]) used.add(volume);
      }
      users.push({
        ...user,
        volumes: volumes.map(({ volume }) => volume).filter((v) => used.has(v)),
      });
    }
    return users;
  }

  #host(): ThisHost {
    return new ThisHost(this.#options.daemon?.());
  }

  async #readAll(scan: Scan, containers: Containers, turns: Turns): Promise<Reading[]> {
    const pids = processIdsSync();
    this.#readings.keep(pids);
    const all: Reading[] = [];
    for (const pid of pids) {
      await turns.pause();
      for (const reading of this.#readings.at(pid)) {
        scan.note(reading);
        all.push(reading);
        // Now, because the process may be one of a chain that live for a moment each.
        if (scan.shownTo(reading).length > 0) containers.of(pid);
      }
    }
    return all;
  }
}

function processOf({ pid, tid }: Pick<Reading, 'pid' | 'tid'>): ProcessRef | undefined {
  const started = processStatSync(tid === undefined ? pid : `${pid}/task/${tid}`)?.started;
  const name = processFileSync(pid, 'comm')?.trim();
  if (started === undefined || name === undefined) return undefined;
  return { pid, tid, started, name };
}
