import { LatestOnly } from '../../../lib/running/latest-only.ts';
import type { SentinelReport, Watch } from '../../../sentinel/watch.ts';
import { longTailed, randomStream } from '../random.ts';
import type { Party } from '../scheduler.ts';
import type { VolumeName } from './commands.ts';
import { volumes } from './commands.ts';
import type { DaemonDisk, Row } from './daemon-disk.ts';
import { mountpointOf } from './daemon-disk.ts';
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
  /** True after its table was lost: it knows no mount that an earlier daemon has made. */
  readonly isForgetful: boolean;
}

const callLimitMs = 1_000;
const startMs = 300;
/** How long a container waits for its volumes. */
const lockTimeoutMs = 8_000;

/** A daemon, reduced to what the sentinel and the store notice of it. */
export class SimulatedDaemon {
  readonly party: Party;
  readonly #options: SimulatedDaemonOptions;
  readonly #random: () => number;
  readonly #telling = new LatestOnly(() => this.#tellNow());
  /** The time by the boot clock after which no lock is proved. */
  #deadline = Number.NEGATIVE_INFINITY;
  #lease: number | undefined;
  #failures = 0;
  /** Volumes on which an operation runs. */
  readonly #busy = new Set<VolumeName>();

  constructor(options: SimulatedDaemonOptions) {
    this.#options = options;
    const { machine } = options.kernel;
    this.party = machine.party(`daemon ${options.number}`);
    this.#random = randomStream(options.seed, this.party.name);
    for (const row of options.disk.rows.values()) {
      row.isProved = false;
      this.#dropUnused(row, 'started');
    }
    if (!options.isForgetful) this.#adopt();
    void this.#renew();
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
    while (this.#busy.has(volume)) await this.#wait(20);
    const known = disk.rows.get(volume);
    if (known) {
      // A file system that was shut down is of no use to anybody.
      if (!this.#isHeld(known) || kernel.mountOf(volume)?.isCutOff) return false;
      known.containers.add(id);
      return true;
    }
    if (kernel.mountOf(volume)) return false;
    this.#busy.add(volume);
    try {
      const mark = disk.newMark();
      if (!(await this.#queue(volume, mark))) return false;
      const row: Row = {
        volume,
        mark,
        isProved: true,
        isLost: false,
        isEvicted: false,
        containers: new Set([id]),
      };
      disk.rows.set(volume, row);
      // The sentinel knows of it first: a file system writes to its disk as soon as it is mounted.
      const isWatched = (await this.#telling.run()) !== undefined;
      if (!isWatched || !this.#isHeld(row)) return false;
      kernel.mount({ volume, mountpoint: mountpointOf(volume), isOwn: volumes[volume].isOwn });
      return true;
    } finally {
      this.#busy.delete(volume);
    }
  }

  /** Waits in the queue of the volume; gives up in the end. */
  async #queue(volume: VolumeName, mark: string): Promise<boolean> {
    const { store, kernel } = this.#options;
    const { machine } = kernel;
    const end = machine.bootMs() + lockTimeoutMs;
    let isQueued = false;
    while (machine.bootMs() < end) {
      const lease = this.#lease;
      isQueued = true;
      const isAsked = await this.#call(() => {
        if (!store.hasLease(this.#host)) return false;
        store.enqueue(this.#host, volume, mark);
        return store.holder(volume)?.mark === mark;
      });
      // An answer of an earlier lease says nothing about this one.
      if (isAsked && lease === this.#lease && machine.bootMs() < this.#deadline) return true;
      await this.#wait(200);
    }
    while (isQueued) {
      const isDone = await this.#call(() => store.remove(this.#host, volume, 'given up') ?? true);
      if (isDone) break;
    }
    return false;
  }

  #isHeld(row: Row): boolean {
    return this.#isProved(row) && !row.isEvicted;
  }

  #isProved(row: Row): boolean {
    const { machine } = this.#options.kernel;
    return row.isProved && !row.isLost && machine.bootMs() < this.#deadline;
  }

  /** Renews the lease for ever. */
  async #renew(): Promise<void> {
    const { store, kernel, disk } = this.#options;
    for (;;) {
      const sentAt = kernel.machine.bootMs();
      const lease = await this.#call(() => store.renew(this.#host));
      if (lease === undefined) {
        await this.#wait(300);
        continue;
      }
      const wasLapsed = kernel.machine.bootMs() >= this.#deadline;
      if (wasLapsed || lease !== this.#lease) {
        for (const row of disk.rows.values()) row.isProved = false;
      }
      this.#lease = lease;
      this.#deadline = sentAt + store.ttlMs - marginMs(store.ttlMs);
      await this.#prove();
      void this.#telling.run();
      await this.#wait(store.ttlMs / 3);
    }
  }

  /** Asks for the tickets of the mounts that are not proved. */
  async #prove(): Promise<void> {
    const { store, disk } = this.#options;
    for (const row of [...disk.rows.values()]) {
      if (row.isProved || row.isLost) continue;
      const isMine = await this.#call(() => store.attach(this.#host, row.volume, row.mark));
      if (isMine === undefined) continue;
      row.isProved = isMine;
      row.isLost = !isMine;
    }
  }

  /** Does each second what is due. */
  async #repeat(): Promise<void> {
    for (;;) {
      const report = await this.#telling.run();
      const { disk } = this.#options;
      if (report) this.#noteReleased(report);
      for (const row of [...disk.rows.values()]) {
        this.#dropUnused(row, 'known');
        if (!this.#busy.has(row.volume)) void this.#settle(row, report);
      }
      await this.#wait(1_000);
    }
  }

  /** Mounts that are neither in the table nor in the kernel have ended. */
  #noteReleased(report: SentinelReport): void {
    const { disk, kernel, isForgetful } = this.#options;
    disk.released = disk.released.filter(({ volume }) => volume in report.volumes);
    if (isForgetful) return;
    // tidy-ok: protocol name
    for (const [volume, { tenure }] of Object.entries(report.watched ?? {})) {
      // tidy-ok: protocol name
      const isKnown = [...disk.rows.keys()].some((each) => each === volume);
      const isNamed = disk.released.some((each) => each.volume === volume);
      if (isKnown || isNamed || kernel.mountOf(volume)) continue;
      disk.released.push({ volume, tenure }); // tidy-ok: protocol name
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
    this.#busy.add(row.volume);
    try {
      if (mount) kernel.unmount(mount);
      while (!row.isLost) {
        const isDone = await this.#call(
          () => store.remove(this.#host, row.volume, 'unmounted') ?? true,
        );
        if (isDone) break;
        await this.#wait(300);
      }
      disk.rows.delete(row.volume);
      disk.released.push({ volume: row.volume, tenure: row.mark }); // tidy-ok: protocol name
      await this.#telling.run();
    } finally {
      this.#busy.delete(row.volume);
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

  /** Takes over mounts that are in the kernel and not in the table. */
  #adopt(): void {
    const { kernel, disk, store, sentinel, engine } = this.#options;
    for (const { volume, isMounted } of kernel.mounts) {
      const name = volume as VolumeName;
      if (!isMounted || disk.rows.has(name)) continue;
      const holder = store.holder(volume);
      const known = sentinel.lastReport?.watched?.[volume]?.tenure; // tidy-ok: protocol name
      const mark = holder?.host === this.#host ? holder.mark : (known ?? 'unknown');
      const containers = new Set(
        [...engine.containers.values()]
          .filter((container) => container.isRunning && container.volumes.includes(volume))
          .map(({ id }) => id),
      );
      disk.rows.set(name, {
        volume: name,
        mark,
        isProved: false,
        isLost: false,
        isEvicted: false,
        containers,
      });
    }
  }

  async #tellNow(): Promise<SentinelReport | undefined> {
    const { sentinel, disk, isForgetful } = this.#options;
    if (!sentinel.isRunning && disk.rows.size === 0) return undefined;
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      if (!sentinel.isRunning) {
        await this.#wait(startMs);
        sentinel.start();
      }
      await this.#wait(longTailed(this.#random, 1, 30));
      const report = sentinel.tell(this.#watch(), !isForgetful);
      if (report) {
        this.#failures = 0;
        return report;
      }
      if (!sentinel.isRunning) continue;
      await this.#wait(callLimitMs);
      this.#failures += 1;
      if (this.#failures >= 3) sentinel.kill('kept');
    }
    return undefined;
  }

  #watch(): Watch {
    const { disk, store, fenceHostProcesses } = this.#options;
    const { ttlMs } = store;
    return {
      protocol: 2,
      bootId: 'boot',
      leadMs: Math.min(1_000, Math.round(ttlMs / 10)),
      graceMs: Math.min(5_000, Math.round(ttlMs / 6)),
      ttlMs,
      marginMs: marginMs(ttlMs),
      fenceHostProcesses,
      released: [...disk.released],
      noted: Number.MAX_SAFE_INTEGER,
      volumes: [...disk.rows.values()].map((row) => ({
        volume: row.volume,
        tenure: row.mark, // tidy-ok: protocol name
        mountpoint: mountpointOf(row.volume),
        ownsFileSystem: volumes[row.volume].isOwn,
        onLost: volumes[row.volume].onLost,
        ...this.#ownership(row),
      })),
    };
  }

  #ownership(row: Row): Pick<Watch['volumes'][number], 'state' | 'deadlineMs'> {
    if (row.isLost) return { state: 'lost' };
    if (!this.#isProved(row)) return { state: 'unproven' };
    const deadlineMs = Math.floor(this.#deadline);
    return { state: row.isEvicted ? 'evicted' : 'held', deadlineMs };
  }

  /** Calls the store; resolves to undefined if the request or the answer does not get through. */
  async #call<T>(work: () => T): Promise<T | undefined> {
    const { isConnected } = this.#options;
    await this.#wait(longTailed(this.#random, 1, 60));
    if (!isConnected()) {
      await this.#wait(500);
      return undefined;
    }
    const answer = work();
    await this.#wait(longTailed(this.#random, 1, 60));
    return isConnected() ? answer : undefined;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.kernel.machine.scheduler.after(ms, this.party, 'timer', resolve);
    });
  }
}

export function marginMs(ttlMs: number): number {
  return Math.min(2_000, ttlMs / 5);
}
