import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from './error-code.ts';
import { mountNamespaces, placeOf } from './mount-namespaces.ts';
import type { Mount } from './mountinfo.ts';
import type { ProcessId } from './proc.ts';
import { processFile } from './proc.ts';

/** A mount of a device in some mount namespace, as one process sees it. */
export interface MountViewer {
  /** The device, such as `/dev/loop3`. */
  readonly source: string;
  /** Names the process for people: `node_exporter (pid 12, container 0123456789ab)`. */
  readonly name: string;
  /**
   * The directory that the mount covers (`placeOf`): a copy of a mount, which came with its
   * surroundings, has the place of that mount.
   */
  readonly place: string | undefined;
  readonly task: ProcessId;
  readonly mount: Mount;
}

/**
 * Finds who has one of these devices mounted, in all mount namespaces of this machine, one process for
 * each namespace. Processes that this one may not look at are not found: in a PID namespace of its own
 * it sees no other, and without CAP_SYS_PTRACE none with more capabilities.
 */
export async function viewersOf(devices: readonly string[]): Promise<MountViewer[]> {
  const viewers: MountViewer[] = [];
  for await (const { pid, task, mounts } of mountNamespaces()) {
    const shown = mounts.filter(({ source }) => devices.includes(source));
    if (shown.length === 0) continue;
    const name = await nameOf(pid);
    for (const mount of shown) {
      const { source } = mount;
      viewers.push({ source, name, place: placeOf(mount, mounts), task, mount });
    }
  }
  return viewers;
}

/** Joins the names of viewers for a sentence, each once. */
export function namesOf(viewers: readonly MountViewer[]): string {
  return [...new Set(viewers.map(({ name }) => name))].join(', ');
}

/**
 * Opens the root directory of a viewer's mount, which keeps its file system alive. Resolves to
 * undefined if the mount has gone, or if another one hides it. Rejects with EIO if the file system is
 * shut down and its directory can't be opened.
 */
export async function openView({ task, mount }: MountViewer): Promise<FileHandle | undefined> {
  try {
    const path = join(`/proc/${task}/root`, mount.mountpoint);
    const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    // The path belongs to somebody else: it may lead anywhere by now.
    if (deviceOf((await directory.stat()).dev) === mount.device) return directory;
    await directory.close();
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ESRCH')) throw error;
  }
  return undefined;
}

/** Returns `major:minor` of a device number, as mount tables have it. */
function deviceOf(dev: number): string {
  const number = BigInt(dev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

const containerId = /[0-9a-f]{64}/;

async function nameOf(pid: number): Promise<string> {
  const program = (await processFile(pid, 'comm'))?.trim() ?? 'a process';
  const id = containerId.exec((await processFile(pid, 'cgroup')) ?? '')?.[0];
  const where = id === undefined ? '' : `, container ${id.slice(0, 12)}`;
  return `${program} (pid ${pid}${where})`;
}
