import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Mount } from './mountinfo.ts';
import { mountsAt, nameIn, parseMountInfo, readMounts } from './mountinfo.ts';
import type { ProcessId } from './proc.ts';
import { ifSeen, namespaceOf, processFile, processIds } from './proc.ts';

/**
 * Returns true if the file system at this mountpoint is also mounted elsewhere, in any mount
 * namespace of this machine: a container uses it, or `docker cp` does. The kernel knows containers
 * of any engine. Processes that this one may not look at are not counted: in a PID namespace of its
 * own it sees no other, and without CAP_SYS_PTRACE none with more capabilities.
 */
export async function isShownElsewhere(mountpoint: string): Promise<boolean> {
  for await (const _pid of processesShowing(mountpoint)) return true;
  return false;
}

/**
 * Yields one process of each mount namespace that shows the file system at this mountpoint at
 * another place, too. The limits of `isShownElsewhere` apply.
 */
export async function* processesShowing(mountpoint: string): AsyncGenerator<number> {
  const all = await readMounts();
  const own = mountsAt(all, await nameIn(all, mountpoint)).at(0);
  if (!own) return;
  const place = placeOf(own, all);
  for await (const { pid, mounts } of mountNamespaces()) {
    const others = mounts.filter((mount) => shows(mount, own));
    // A namespace that was made later has a copy of this mount, at the same place: not counted.
    if (others.some((mount) => placeOf(mount, mounts) !== place)) yield pid;
  }
}

/** A directory of a file system, as mount tables name it. */
export type Shown = Pick<Mount, 'device' | 'root'>;

/** Returns true if the mount shows this directory of a file system, or a part of it. */
export function shows(mount: Shown, { device, root }: Shown): boolean {
  return mount.device === device && isInside(mount.root, root);
}

/** Returns true if a path is this directory, or lies in it. */
export function isInside(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

/**
 * Returns which directory of which file system a mount covers. A copy of the mount that came with
 * its surroundings (a new namespace, `docker run -v /:/host`) covers the same directory; a mount
 * that was made elsewhere does not, whatever the path of its mountpoint. Undefined if the mount
 * below is not in the table.
 */
export function placeOf(
  { parentId, mountpoint }: Pick<Mount, 'parentId' | 'mountpoint'>,
  mounts: readonly Mount[],
): string | undefined {
  const parent = mounts.find(({ id }) => id === parentId);
  if (!parent) return undefined;
  return `${parent.device} ${join(parent.root, relative(parent.mountpoint, mountpoint))}`;
}

/**
 * Returns the place of a mount that is, or was, at this path in this process's mount namespace, also
 * if nothing is mounted there now.
 */
export async function placeOfPath(path: string): Promise<string | undefined> {
  const mounts = await readMounts();
  const mountpoint = await nameIn(mounts, path);
  const below = mountBelow(mountpoint, mounts);
  return below && placeOf({ parentId: below.id, mountpoint }, mounts);
}

/** Returns the mount that a path is reached through, without what is mounted at the path itself. */
function mountBelow(path: string, mounts: readonly Mount[]): Mount | undefined {
  return mounts
    .filter(({ mountpoint }) => path !== mountpoint && isInside(path, mountpoint))
    .toSorted((a, b) => a.mountpoint.length - b.mountpoint.length)
    .at(-1);
}

/** The mounts of one mount namespace, and a process or thread that sees them. */
export interface MountNamespace {
  readonly pid: number;
  readonly task: ProcessId;
  readonly mounts: readonly Mount[];
}

/** Reads the mounts of every mount namespace. Threads count: an engine's thread may have its own. */
export async function* mountNamespaces(): AsyncGenerator<MountNamespace> {
  const seen = new Set<string>();
  for (const pid of await processIds()) {
    for (const thread of (await ifSeen(readdir(`/proc/${pid}/task`))) ?? []) {
      const task: ProcessId = `${pid}/task/${thread}`;
      const namespace = await namespaceOf(task, 'mnt');
      if (namespace === undefined || seen.has(namespace)) continue;
      const text = await processFile(task, 'mountinfo');
      if (text === undefined) continue;
      seen.add(namespace);
      yield { pid, task, mounts: parseMountInfo(text) };
    }
  }
}
