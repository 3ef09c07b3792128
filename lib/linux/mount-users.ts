import { readdir, readlink } from 'node:fs/promises';
import { processesShowing } from './mount-namespaces.ts';
import { processIds } from './proc.ts';

const namedUsers = 5;

/**
 * Names processes that use what is mounted at a path, such as `postgres (pid 12)`: at most five. A
 * process has an open file or a directory below the path, or lives in a mount namespace that shows
 * the mount at another place, as those of a container do; of each such namespace one is named, after
 * those with something open: a copy of the mount keeps it, but need not be in use.
 */
export async function mountUsers(mountpoint: string): Promise<string[]> {
  const pids = new Set<number>();
  for (const pid of await processIds()) {
    if (pids.size === namedUsers) break;
    if (await isBelow(pid, mountpoint)) pids.add(pid);
  }
  for await (const pid of processesShowing(mountpoint)) {
    if (pids.size === namedUsers) break;
    pids.add(pid);
  }
  return Promise.all([...pids].map(nameOf));
}

async function isBelow(pid: number, mountpoint: string): Promise<boolean> {
  const open = await Promise.all((await linksOf(pid)).map(target));
  return open.some((path) => path === mountpoint || path.startsWith(`${mountpoint}/`));
}

async function linksOf(pid: number): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  return [
    `/proc/${pid}/cwd`,
    `/proc/${pid}/root`,
    ...descriptors.map((descriptor) => `/proc/${pid}/fd/${descriptor}`),
  ];
}

async function nameOf(pid: number): Promise<string> {
  return `${(await target(`/proc/${pid}/exe`)).replace(/.*\//, '')} (pid ${pid})`;
}

/** Reads a link; empty when the process or the file is gone, or can't be read. */
function target(link: string): Promise<string> {
  return readlink(link).catch(() => '');
}
