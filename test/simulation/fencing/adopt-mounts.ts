import type { VolumeName } from './commands.ts';
import type { DaemonDisk } from './daemon-disk.ts';
import type { Kernel } from './kernel.ts';
import type { SentinelHost } from './sentinel-host.ts';
import type { SimulatedEngine } from './simulated-engine.ts';
import type { SimulatedStore } from './simulated-store.ts';

export interface AdoptOptions {
  readonly kernel: Kernel;
  readonly engine: SimulatedEngine;
  readonly store: SimulatedStore;
  readonly sentinel: SentinelHost;
  readonly disk: DaemonDisk;
}

/** Takes over mounts that are in the kernel and not in the table, as a daemon does that starts. */
export function adoptMounts({ kernel, disk, store, sentinel, engine }: AdoptOptions): void {
  for (const { volume, isMounted } of kernel.mounts) {
    const name = volume as VolumeName;
    if (!isMounted || disk.rows.has(name)) continue;
    const holder = store.holder(volume);
    const known = sentinel.lastReport?.watched?.[volume]?.tenure; // tidy-ok: protocol name
    const mark = holder?.host === kernel.machine.name ? holder.mark : (known ?? 'unknown');
    const containers = [...engine.containers.values()]
      .filter((container) => container.isRunning && container.volumes.includes(volume))
      .map(({ id }) => id);
    disk.rows.set(name, {
      ...{ volume: name, mark, isProved: false, isLost: false, isEvicted: false },
      isAdopted: true,
      containers: new Set(containers),
    });
  }
}
