import type { SentinelReport, Watch } from '../../../sentinel/watch.ts';
import { volumes } from './commands.ts';
import type { DaemonDisk, Row } from './daemon-disk.ts';
import { mountpointOf } from './daemon-disk.ts';
import type { Kernel } from './kernel.ts';
import type { SentinelHost } from './sentinel-host.ts';

export interface DaemonWatchOptions {
  readonly sentinel: SentinelHost;
  readonly kernel: Kernel;
  readonly disk: DaemonDisk;
  readonly ttlMs: number;
  readonly fenceHostProcesses: boolean;
  /** True after its table was lost: the daemon knows no mount that an earlier one has made. */
  readonly isForgetful: boolean;
  readonly ownership: (row: Row) => Pick<Watch['volumes'][number], 'state' | 'deadlineMs'>;
  /** Resolves after `ms` of the daemon's time; without an argument after the delay of a call. */
  readonly wait: (ms?: number) => Promise<void>;
}

const callLimitMs = 1_000;
const startMs = 300;

/** The part of a daemon that speaks to the sentinel. */
export class DaemonWatch {
  readonly #options: DaemonWatchOptions;
  #failures = 0;

  constructor(options: DaemonWatchOptions) {
    this.#options = options;
  }

  /** Tells the sentinel the mounts, and starts one where none runs or answers. */
  async tell(): Promise<SentinelReport | undefined> {
    const { sentinel, disk, isForgetful, wait } = this.#options;
    if (!sentinel.isRunning && disk.rows.size === 0) return undefined;
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      if (!sentinel.isRunning) {
        await wait(startMs);
        sentinel.start();
      }
      await wait();
      const report = sentinel.tell(this.#watch(), !isForgetful);
      if (report) {
        this.#failures = 0;
        return report;
      }
      if (!sentinel.isRunning) continue;
      await wait(callLimitMs);
      this.#failures += 1;
      if (this.#failures >= 3) sentinel.kill('kept');
    }
    return undefined;
  }

  /** Notes which mounts have ended: those that are neither in the table nor in the kernel, too. */
  noteReleased(report: SentinelReport): void {
    const { disk, kernel, isForgetful } = this.#options;
    disk.released = disk.released.filter(({ volume }) => volume in report.volumes);
    if (isForgetful) return;
    // tidy-ok: protocol name
    for (const [volume, { tenure }] of Object.entries(report.watched ?? {})) {
      const isKnown = [...disk.rows.keys()].some((each) => each === volume);
      const isNamed = disk.released.some((each) => each.volume === volume);
      if (isKnown || isNamed || kernel.mountOf(volume)) continue;
      disk.released.push({ volume, tenure }); // tidy-ok: protocol name
    }
  }

  #watch(): Watch {
    const { disk, ttlMs, fenceHostProcesses, ownership } = this.#options;
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
        isAdopted: row.isAdopted,
        ...ownership(row),
        ...(row.stillUntilMs !== undefined && { stillUntilMs: row.stillUntilMs }),
      })),
    };
  }
}

/** The time from a deadline to the earliest end of the TTL. */
export function marginMs(ttlMs: number): number {
  return Math.min(2_000, ttlMs / 5);
}
