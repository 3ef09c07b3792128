import { LatestOnly } from '../../../lib/running/latest-only.ts';
import type { SentinelReport, Watch } from '../../../sentinel/watch.ts';
import { longTailed, randomStream } from '../random.ts';
import type { Party } from '../scheduler.ts';
import { adoptMounts } from './adopt-mounts.ts';
import type { CopyCommand, VolumeName } from './commands.ts';
import { volumes } from './commands.ts';
import type { DaemonDisk, Row } from './daemon-disk.ts';
import { mountpointOf } from './daemon-disk.ts';
import { DaemonLease } from './daemon-lease.ts';
import { DaemonWatch } from './daemon-watch.ts';
import type { Record } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { SentinelHost } from './sentinel-host.ts';
import type { SimulatedEngine } from './simulated-engine.ts';
import type { SimulatedMount } from './simulated-mount.ts';
import type { SimulatedStore } from './simulated-store.ts';

export interface SimulatedDaemonOptions {
  readonly number: number;
  readonly seed: number;
  readonly kernel: Kernel;
  readonly engine: SimulatedEngine;
  readonly store: SimulatedStore;
  readonly sentinel: SentinelHost;
  readonly disk: DaemonDisk;
  readonly fenceHostProcesses: boolean;
  readonly isConnected: () => boolean;
  readonly record: Record;
  /** True after its table was lost: it knows no mount that an earlier daemon has made. */
  readonly isForgetful: boolean;
}

/** A daemon, reduced to what the sentinel and the store notice of it. */
export class SimulatedDaemon {
  readonly party: Party;
  readonly #options: SimulatedDaemonOptions;
  readonly #random: () => number;
  readonly #watch: DaemonWatch;
  readonly #telling = new LatestOnly(() => this.#watch.tell());
  readonly #lease: DaemonLease;
  /** Volumes on which an operation runs, with those that wait for its end. */
  readonly #busy = new Map<VolumeName, (() => void)[]>();

  constructor(options: SimulatedDaemonOptions) {
    this.#options = options;
    const { machine } = options.kernel;
    this.party = machine.party(`daemon ${options.number}`);
    this.#random = randomStream(options.seed, this.party.name);
    for (const row of options.disk.rows.values()) {
      row.isProved = false;
      row.isAdopted = true;
      row.stillUntilMs = undefined;
      this.#dropUnused(row, 'started');
    }
    this.#watch = new DaemonWatch({
      ...options,
      ttlMs: options.store.ttlMs,
      ownership: (row) => this.#ownership(row),
      wait: (ms = longTailed(this.#random, 1, 30)) => this.#wait(ms),
    });
    this.#lease = new DaemonLease({
      ...options,
      random: this.#random,
      wait: (ms) => this.#wait(ms),
      renewed: () => void this.#telling.run(),
    });
    if (!options.isForgetful) adoptMounts(options);
    void this.#lease.renew();
    void this.#repeat();
  }

  get #host(): string {
    return this.#options.kernel.machine.name;
  }

  /** Mounts the volumes for a container; resolves to false if that fails. */
  async mount(id: string, names: readonly VolumeName[]): Promise<boolean> {
    for (const name of names) {
      if (await this.#mountOne(id, name)) continue;
      for (const row of this.#options.disk.rows.values()) row.containers.delete(id);
      return false;
    }
    return true;
  }

  /** Copies a volume in use, as `SentinelStandstills` does; gives up at the limit. */
  async copy({ volume, ms }: CopyCommand): Promise<void> {
    const { disk, kernel, record } = this.#options;
    const row = disk.rows.get(volume);
    if (!row || !this.#isHeld(row) || this.#busy.has(volume)) return;
    this.#busy.set(volume, []);
    const untilMs = Math.floor(kernel.machine.bootMs() + ms);
    row.stillUntilMs = untilMs;
    const isOver = () => kernel.machine.bootMs() >= untilMs;
    const stillSince = async () => {
      const { phase, fencedSinceMs } = (await this.#telling.run())?.watched?.[volume] ?? {};
      return phase === 'fenced' ? fencedSinceMs : undefined;
    };
    try {
      let sinceMs = await stillSince();
      while (sinceMs === undefined && !isOver()) {
        await this.#wait(20);
        sinceMs = await stillSince();
      }
      if (sinceMs === undefined) return;
      record({ kind: 'copying', host: this.#host, volume });
      await this.#wait(longTailed(this.#random, 50, 12_000));
      const isSame = (await stillSince()) === sinceMs;
      if (isSame && !isOver()) record({ kind: 'copied', host: this.#host, volume });
    } finally {
      row.stillUntilMs = undefined;
      this.#free(volume);
      await this.#telling.run();
    }
  }

  /** An operator clears the lock of a volume that is held. */
  evict(volume: VolumeName): void {
    const row = this.#options.disk.rows.get(volume);
    if (!row || !this.#isHeld(row)) return;
    this.#options.store.breakMark(volume);
    row.isEvicted = true;
    void this.#telling.run();
  }

  async #mountOne(id: string, volume: VolumeName): Promise<boolean> {
    const { disk, kernel } = this.#options;
    while (this.#busy.has(volume)) await this.#end(volume);
    const known = disk.rows.get(volume);
    if (known) {
      // A file system that was shut down is of no use to anybody.
      if (!this.#isHeld(known) || kernel.mountOf(volume)?.isCutOff) return false;
      known.containers.add(id);
      return true;
    }
    if (kernel.mountOf(volume)) return false;
    this.#busy.set(volume, []);
    try {
      const mark = disk.newMark();
      if (!(await this.#lease.queue(volume, mark))) return false;
      const row: Row = {
        volume,
        mark,
        isProved: true,
        isLost: false,
        isEvicted: false,
        isAdopted: false,
        containers: new Set([id]),
      };
      disk.rows.set(volume, row);
      // The sentinel knows of it first: a file system writes to its disk as soon as it is mounted.
      const isWatched = (await this.#telling.run()) !== undefined;
      if (!isWatched || !this.#isHeld(row)) return false;
      kernel.mount({ volume, mountpoint: mountpointOf(volume), isOwn: volumes[volume].isOwn });
      return true;
    } finally {
      this.#free(volume);
    }
  }

  /** Resolves some time after the operation on the volume has ended. */
  async #end(volume: VolumeName): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#busy.get(volume)?.push(resolve));
    await ended;
    await this.#wait(longTailed(this.#random, 1, 20));
  }

  #free(volume: VolumeName): void {
    const waiting = this.#busy.get(volume) ?? [];
    this.#busy.delete(volume);
    for (const resolve of waiting) resolve();
  }

  #isHeld(row: Row): boolean {
    return this.#isProved(row) && !row.isEvicted;
  }

  #isProved(row: Row): boolean {
    return row.isProved && !row.isLost && this.#lease.isInTime;
  }

  /** Does each second what is due. */
  async #repeat(): Promise<void> {
    for (;;) {
      const report = await this.#telling.run();
      const { disk } = this.#options;
      if (report) this.#watch.noteReleased(report);
      for (const row of [...disk.rows.values()]) {
        this.#dropUnused(row, 'known');
        if (!this.#busy.has(row.volume)) void this.#settle(row, report);
      }
      await this.#wait(1_000);
    }
  }

  /** Drops the IDs of containers that the engine does not run; a new one may not be started yet. */
  #dropUnused(row: Row, since: 'started' | 'known'): void {
    const { containers, party } = this.#options.engine;
    if (party.state !== 'running' && since === 'known') return;
    for (const id of row.containers) {
      const isRunning = containers.get(id)?.isRunning ?? since === 'known';
      if (!isRunning) row.containers.delete(id);
    }
  }

  /** Ends a mount that nobody uses, or that must end. */
  async #settle(row: Row, report: SentinelReport | undefined): Promise<void> {
    const { kernel, disk, store } = this.#options;
    const mount = kernel.mountOf(row.volume);
    if (row.isLost || row.isEvicted) {
      if (!row.isLost && !this.#isProved(row)) return;
      if (report?.volumes[row.volume] !== 'ended' || (mount && this.#isBusy(row, mount))) return;
    } else {
      const isFree = row.containers.size === 0 && this.#isHeld(row);
      if (!isFree || (mount && (kernel.inUse(mount) || mount.fs !== 'open'))) return;
    }
    this.#busy.set(row.volume, []);
    try {
      if (mount) kernel.unmount(mount);
      while (!row.isLost) {
        const isDone = await this.#lease.call(
          () => store.remove(this.#host, row.volume, 'unmounted') ?? true,
        );
        if (isDone) break;
        await this.#wait(300);
      }
      disk.rows.delete(row.volume);
      disk.released.push({ volume: row.volume, tenure: row.mark }); // tidy-ok: protocol name
      await this.#telling.run();
    } finally {
      this.#free(row.volume);
    }
  }

  /** Returns true if somebody uses it; processes of the host do not keep a lost volume mounted. */
  #isBusy(row: Row, mount: SimulatedMount): boolean {
    const { kernel, fenceHostProcesses } = this.#options;
    if (!row.isLost) return kernel.inUse(mount);
    return [...kernel.users.values()].some(
      ({ mounts, options }) => mounts.has(mount) && (fenceHostProcesses || options.kind !== 'host'),
    );
  }

  #ownership(row: Row): Pick<Watch['volumes'][number], 'state' | 'deadlineMs'> {
    if (row.isLost) return { state: 'lost' };
    if (!this.#isProved(row)) return { state: 'unproven' };
    const deadlineMs = Math.floor(this.#lease.deadlineMs);
    return { state: row.isEvicted ? 'evicted' : 'held', deadlineMs };
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.kernel.machine.scheduler.after(ms, this.party, 'timer', resolve);
    });
  }
}
