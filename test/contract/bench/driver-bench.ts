import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type {
  DriverCapabilities,
  DriverContext,
  DriverVolume,
  VolumeDriver,
} from '../../../lib/volumes/drivers/driver.ts';
import type { FileSystem, FileSystemKind } from '../../support/loop-fs.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { waitFor } from '../../support/processes.ts';
import { stopCopy } from './stopped-copy.ts';

/** How a driver is tested: on which file system, and with which options. */
export interface DriverFixture {
  readonly driverName: string;
  readonly makeDriver: (place: { readonly volumeDir: string }) => VolumeDriver;
  /** The options as a user would give them. */
  readonly options: Readonly<Record<string, string>>;
  readonly pool: FileSystemKind;
  /** How the driver's own options are tried, by name; all drivers share the others (option-contract.ts). */
  readonly trials?: Readonly<Record<string, OptionTrial>>;
  /** The options that are tried on this file system; all by default. Others are tried by another fixture. */
  readonly tried?: readonly string[];
}

/** How the contract tries an option. */
export interface OptionTrial {
  /** Values as a user gives them, with their normal form. The first differs from the default. */
  readonly good: Readonly<Record<string, string>>;
  readonly bad: readonly string[];
  /** Returns the value that a mounted volume has, in the normal form. */
  shows(mounted: MountedTrial): Promise<string | undefined>;
}

export interface MountedTrial {
  readonly volume: DriverVolume;
  /** The mountpoint. */
  readonly root: string;
  /** The directory of the driver's storage. */
  readonly storageDir: string;
  /** The value that was asked for, in the normal form. */
  readonly asked: string;
}

/** Returns what the driver of a fixture can do, to choose the tests. */
export function capabilitiesOf({ makeDriver }: DriverFixture): DriverCapabilities {
  return makeDriver({ volumeDir: '/nowhere' }).capabilities;
}

/** Returns true if the driver of a fixture keeps removed volumes. */
export function hasTrash({ makeDriver }: DriverFixture): boolean {
  return makeDriver({ volumeDir: '/nowhere' }).trash !== undefined;
}

export const never: DriverContext = { signal: new AbortController().signal };

/**
 * One driver on a file system that its tests share; each test gets an empty directory on it.
 * Disposing unmounts whatever a test left mounted, and reports it.
 */
export class DriverBench implements AsyncDisposable {
  readonly fixture: DriverFixture;
  readonly volumeDir: string;
  readonly driver: VolumeDriver;
  readonly #root: string;
  readonly #mountDir: string;

  private constructor(fixture: DriverFixture, root: string) {
    this.fixture = fixture;
    this.#root = root;
    this.volumeDir = join(root, 'volumes');
    this.#mountDir = join(root, 'mounts');
    this.driver = this.restarted();
  }

  static async makePool(kind: FileSystemKind): Promise<FileSystem> {
    const pool = await makeFileSystem(kind, 3000);
    // Other tests create mount namespaces, which copy this mount. A shared mount passes the unmount
    // on to those copies.
    await command('mount', ['--make-shared', pool.path]);
    return pool;
  }

  static async open(fixture: DriverFixture, pool: FileSystem): Promise<DriverBench> {
    const bench = new DriverBench(fixture, await mkdtemp(join(pool.path, 'bench-')));
    await mkdir(bench.#mountDir);
    return bench;
  }

  /** Returns the driver as a daemon that starts now would make it. */
  restarted(): VolumeDriver {
    return this.fixture.makeDriver({ volumeDir: this.volumeDir });
  }

  volume(name: string): DriverVolume {
    return { name, options: this.driver.parseOptions(this.fixture.options) };
  }

  mountpoint(name: string): string {
    return join(this.#mountDir, name);
  }

  async created(name: string): Promise<DriverVolume> {
    const volume = this.volume(name);
    await this.driver.create(volume, never);
    return volume;
  }

  async mounted(name: string) {
    const volume = await this.created(name);
    const mountpoint = this.mountpoint(name);
    await this.driver.mount(volume, mountpoint, never);
    return { volume, mountpoint };
  }

  /** Mounts a volume while `look` runs. */
  async inside<T>(volume: DriverVolume, look: (path: string) => Promise<T>): Promise<T> {
    const mountpoint = join(this.#mountDir, `${volume.name}-inside`);
    await this.driver.mount(volume, mountpoint, never);
    try {
      return await look(mountpoint);
    } finally {
      await this.driver.unmount(volume, mountpoint, never);
    }
  }

  read(volume: DriverVolume, file: string): Promise<string> {
    return this.inside(volume, (path) => readFile(join(path, file), 'utf8'));
  }

  get storageDir(): string {
    return join(this.volumeDir, this.fixture.driverName);
  }

  /** Lists what is half made or half deleted now. */
  async leftovers(): Promise<string[]> {
    const names = await readdir(this.storageDir).catch(() => []);
    return names.filter((name) => name.startsWith('.'));
  }

  /**
   * Lists the mountpoints below this bench, once for each mount on them, without those that are a volume's
   * storage.
   */
  async mounts(): Promise<string[]> {
    const isStorage = (path: string) =>
      path.startsWith(`${this.storageDir}/`) && !path.slice(this.storageDir.length).includes('/.');
    return (await this.#allMounts()).filter((path) => !isStorage(path));
  }

  async #allMounts(): Promise<string[]> {
    const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    return lines
      .map((line) => line.split(' ')[4] ?? '')
      .filter((path) => path.startsWith(`${this.#mountDir}/`) || path.startsWith(this.volumeDir));
  }

  /** Lists the loop devices on files of this bench. */
  async loopDevices(): Promise<string[]> {
    const list = await command('losetup', ['--all']);
    return list.split('\n').filter((line) => line.includes(this.volumeDir));
  }

  /** Stops the program that a process runs to copy for the driver, in the middle of its work. */
  pauseCopy(parentPid: number): Promise<number> {
    return stopCopy(parentPid, this.storageDir);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const left = await this.mounts();
    for (const mountpoint of (await this.#allMounts()).reverse()) {
      await command('fsfreeze', ['-u', mountpoint]).catch(() => '');
      await command('umount', ['--lazy', mountpoint]);
    }
    if (left.length > 0) throw new Error(`left mounted: ${left.join(', ')}`);
    await waitFor(
      async () => (await this.loopDevices()).length === 0,
      5000,
      'the loop devices to be detached',
    );
    await command('rm', ['-r', '--one-file-system', this.#root]);
  }
}

export async function command(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, [...args]);
  return stdout;
}
