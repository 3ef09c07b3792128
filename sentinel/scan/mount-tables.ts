import type { Mount } from '../../lib/linux/mountinfo.ts';
import { parseMountInfo } from '../../lib/linux/mountinfo.ts';
import { processFileSync } from '../../lib/linux/proc.ts';
import type { Reading } from './readings.ts';
import { taskOf } from './readings.ts';

/** A mount with the table that it stands in. */
export interface TabledMount {
  readonly mount: Mount;
  readonly table: readonly Mount[];
}

/** The mount tables that a scan has met: one for each view, because all tasks of a view see the same. */
export class MountTables {
  readonly #devices: readonly string[];
  readonly #tables = new Map<string, readonly Mount[]>();
  readonly #ids = new Set<number>();
  readonly #mounts = new Map<number, TabledMount>();

  /** Takes the devices of the volumes: a table that mentions none of them is not read in detail. */
  constructor(devices: Iterable<string>) {
    this.#devices = [...new Set(devices)].map((device) => ` ${device} `);
  }

  /** Returns the mounts of the task's view; none if it can't reach a file system of these devices. */
  of(reading: Reading): readonly Mount[] {
    return this.#tables.get(reading.view) ?? this.readAgain(reading);
  }

  /** Reads the view's table, which may have changed since one of its tasks was looked at first. */
  readAgain(reading: Reading): readonly Mount[] {
    const text = processFileSync(taskOf(reading), 'mountinfo');
    if (text === undefined) return [];
    const table = this.#matters(text) ? this.add(parseMountInfo(text)) : this.#addIds(text);
    this.#tables.set(reading.view, table);
    return table;
  }

  /** Adds a table that belongs to no view. */
  add(table: readonly Mount[]): readonly Mount[] {
    for (const mount of table) {
      this.#ids.add(mount.id);
      // A task below another root sees a shorter path: the longest is the one that the kernel uses.
      const known = this.#mounts.get(mount.id)?.mount.mountpoint.length ?? -1;
      if (mount.mountpoint.length > known) this.#mounts.set(mount.id, { mount, table });
    }
    return table;
  }

  /** Returns true if the mount is in a table that was read: it is not detached. */
  has(id: number): boolean {
    return this.#ids.has(id);
  }

  mountOf(id: number): TabledMount | undefined {
    return this.#mounts.get(id);
  }

  #matters(text: string): boolean {
    return this.#devices.some((device) => text.includes(device));
  }

  #addIds(text: string): readonly Mount[] {
    for (const line of text.split('\n')) this.#ids.add(Number.parseInt(line, 10));
    return [];
  }
}
