import { pathOfLink } from '../../lib/linux/link-paths.ts';
import { placeAt } from '../../lib/linux/task-files.ts';
import type { MountedVolume } from '../ports.ts';
import type { Bits, Held } from './held-volumes.ts';
import { heldVolumes } from './held-volumes.ts';
import type { Holdings } from './holdings.ts';
import { holds } from './holdings.ts';
import type { DeviceQuestions, PathsAbove } from './links.ts';
import { isBelowInode, leadsBelow, linksInto, pathsAbove } from './links.ts';
import { MountTables } from './mount-tables.ts';
import type { Reading } from './readings.ts';
import type { ThisHost } from './this-host.ts';
import type { SoughtVolume } from './volume-views.ts';
import { showsAsItsOwn, soughtVolumes } from './volume-views.ts';

/** One scan: the mount tables that it has read, and what follows from them for each task. */
export class Scan {
  readonly sought: readonly SoughtVolume[];
  readonly #host: ThisHost;
  readonly #volumes: readonly MountedVolume[];
  readonly #questions: DeviceQuestions;
  readonly #tables: MountTables;
  readonly #shown = new Map<string, readonly SoughtVolume[]>();
  readonly #held = new Map<Holdings, readonly Held[]>();
  readonly #identified = new Set<number>();
  /** Detached mounts of the devices that are looked for. */
  readonly #detached = new Map<number, string | undefined>();

  constructor(host: ThisHost, volumes: readonly MountedVolume[], questions: DeviceQuestions) {
    this.#host = host;
    this.#volumes = volumes;
    this.#questions = questions;
    this.sought = soughtVolumes(host.mounts, volumes);
    this.#tables = new MountTables(this.sought.map(({ identity }) => identity.device));
    for (const table of host.tables) this.#tables.add(table);
  }

  /** Notes the mounts that a task sees. `heldBy` is complete when every task has been noted. */
  note(reading: Reading): void {
    this.#tables.of(reading);
  }

  /** Forgets what was decided about held mounts while not every task had been noted. */
  decideAgain(): void {
    this.#held.clear();
    this.#identified.clear();
    this.#detached.clear();
  }

  /** Returns the volumes that the task's mount table shows at places of their own. */
  shownTo(reading: Reading): readonly SoughtVolume[] {
    if (this.#host.hasMountNamespace(reading.mountNamespace)) return [];
    const known = this.#shown.get(reading.view);
    if (known) return known;
    const table = this.#tables.of(reading);
    const shown = this.sought.filter((each) => showsAsItsOwn(table, each, this.#host.tables));
    this.#shown.set(reading.view, shown);
    return shown;
  }

  /**
   * Returns what the task holds that may belong to a volume. Asks about mounts that no table has:
   * almost all of them are the kernel's own, such as that of pipes.
   */
  async mayBeHeldBy(reading: Reading): Promise<readonly Held[]> {
    const held = this.#heldIn(reading.holdings);
    if (held.length === 0) return held;
    for (const each of held) {
      if (each.is === 'unknown') await this.#identify(reading, each.mountId);
    }
    return held.filter((each) => each.is !== 'unknown' || this.#detached.has(each.mountId));
  }

  /** Returns the volumes that the task holds. */
  async heldBy(reading: Reading, whose: keyof Bits): Promise<Set<SoughtVolume>> {
    const found = new Set<SoughtVolume>();
    // Read once for all volumes, and compared first: it costs less than the numbers of the mounts.
    let above: PathsAbove | undefined;
    const isBelow = (held: Held & { is: 'more' }) => {
      const bits = held.bits[whose];
      if (bits === 0) return false;
      above ??= pathsAbove(reading);
      return above.has(held.path) && leadsBelow(reading, held.mountId, held.path, bits);
    };
    for (const held of await this.mayBeHeldBy(reading)) {
      if (held.is === 'unknown') {
        for (const each of this.#heldDetached(reading, held.mountId)) found.add(each);
      } else if (held.is === 'part' ? held.bits[whose] !== 0 : isBelow(held)) {
        found.add(held.sought);
      }
    }
    return found;
  }

  #heldIn(holdings: Holdings): readonly Held[] {
    const known = this.#held.get(holdings);
    if (known) return known;
    const held = heldVolumes(holdings, this.sought, this.#tables, this.#host.tables);
    this.#held.set(holdings, held);
    return held;
  }

  /** Learns what a mount is that was in no table when its task's table was read. */
  async #identify(reading: Reading, mountId: number): Promise<void> {
    if (this.#identified.has(mountId)) return;
    this.#identified.add(mountId);
    const [link] = linksInto(reading, mountId);
    const isFile = link && pathOfLink(link.path) !== undefined;
    if (!isFile) return; // A pipe or a socket, or it is closed by now.
    this.#tables.readAgain(reading);
    if (this.#tables.has(mountId)) {
      this.#held.delete(reading.holdings);
      return;
    }
    const device = await this.#questions.deviceOf(link.path);
    if (this.sought.some(({ identity }) => identity.device === device)) {
      this.#detached.set(mountId, device);
    }
  }

  /**
   * Decides about a detached mount. Its device tells it; on a file system that others use, too, a
   * directory must also lie below the volume's own.
   */
  #heldDetached(reading: Reading, mountId: number): SoughtVolume[] {
    const device = this.#detached.get(mountId);
    const links = linksInto(reading, mountId);
    return this.sought.filter(({ volume, identity }) => {
      if (identity.device !== device || links.length === 0) return false;
      if (identity.root === '/') return true;
      const inode = this.#inodeOf(volume);
      return links.some(({ path, bit }) =>
        bit === holds.directory && inode !== undefined ? isBelowInode(path, inode) : true,
      );
    });
  }

  #inodeOf(name: string): string | undefined {
    const mountpoint = this.#volumes.find(({ volume }) => volume === name)?.mountpoint;
    const mount = this.#host.mounts.find((each) => each.mountpoint === mountpoint);
    return mount && mountpoint !== undefined ? placeAt(mountpoint)?.inode : undefined;
  }
}
