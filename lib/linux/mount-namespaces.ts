import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Mount } from './mountinfo.ts';
import { currentMountsAt, parseMountInfo, readMounts } from './mountinfo.ts';
import type { ProcessId } from './proc.ts';
import { ifSeen, namespaceOf, processFile, processIds } from './proc.ts';

/**
 * Returns true if the file system at this mountpoint is also mounted elsewhere, in any mount
 * namespace of this machine: a container uses it, or `docker cp` does. The kernel knows containers
 * of any engine. Processes that this one may not look at are not counted: in a PID namespace of its
 * own it sees no other, and without CAP_SYS_PTRACE none with more capabilities.
 */
export async function isShownElsewhere(mountpoint: string): Promise<boolean> {
  const [own] = await currentMountsAt(mountpoint);
  if (!own) return false;
  const place = placeOf(own, await readMounts());
  for await (const mounts of allNamespaces()) {
    const others = mounts.filter((mount) => shows(mount, own));
    // A namespace that was made later has a copy of this mount, at the same place: not counted.
    if (others.some((mount) => placeOf(mount, mounts) !== place)) return true;
  }
  return false;
}

/**
 * Returns true if a mount namespace of this machine has a mount of one of these devices, such as
 * `/dev/loop3`. The limits of `isShownElsewhere` apply.
 */
export async function isMountedAnywhere(devices: readonly string[]): Promise<boolean> {
  for await (const mounts of allNamespaces()) {
    if (mounts.some(({ source }) => devices.includes(source))) return true;
  }
  return false;
}

function shows(mount: Mount, { device, root }: Mount): boolean {
  const inside = root === '/' ? root : `${root}/`;
  return mount.device === device && (mount.root === root || mount.root.startsWith(inside));
}

/** Returns which directory of which file system a mount covers; the same in all namespaces. */
function placeOf({ parentId, mountpoint }: Mount, mounts: readonly Mount[]): string | undefined {
  const parent = mounts.find(({ id }) => id === parentId);
  if (!parent) return undefined;
  return `${parent.device} ${join(parent.root, relative(parent.mountpoint, mountpoint))}`;
}

/** Reads the mounts of every mount namespace. Threads count: an engine's thread may have its own. */
async function* allNamespaces(): AsyncGenerator<Mount[]> {
  const seen = new Set<string>();
  for (const pid of await processIds()) {
    for (const thread of (await ifSeen(readdir(`/proc/${pid}/task`))) ?? []) {
      const task: ProcessId = `${pid}/task/${thread}`;
      const namespace = await namespaceOf(task, 'mnt');
      if (namespace === undefined || seen.has(namespace)) continue;
      const text = await processFile(task, 'mountinfo');
      if (text === undefined) continue;
      seen.add(namespace);
      yield parseMountInfo(text);
    }
  }
}
