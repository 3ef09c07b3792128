import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import type { Mount } from '../../../linux/mountinfo.ts';
import { readMounts } from '../../../linux/mountinfo.ts';
import { syncFileSystem } from '../shared/storage-files.ts';

const debug = createDebug('berth:driver');

/**
 * File systems of one kernel. The next user of a directory there is on this host and sees the same
 * cache, so an unmount needs no flush.
 */
const localTypes = new Set([
  ...['bcachefs', 'btrfs', 'ext2', 'ext3', 'ext4', 'f2fs', 'jfs', 'overlay', 'ramfs', 'reiserfs'],
  ...['tmpfs', 'xfs', 'zfs'],
]);

/** A server that takes longer has the rest when its client writes back by itself. */
const flushLimitMs = 10_000;

/**
 * Writes back what this host has cached of a file system that other hosts may share, because the next
 * host reads from its server. The kernel only flushes the file system as a whole, with what other
 * programs wrote, so the flush is limited. Network file systems also write back when a file is closed.
 * `mounts`: what is mounted at the mountpoint, the topmost last.
 */
export async function flushShared(mountpoint: string, mounts: readonly Mount[]): Promise<void> {
  const top = mounts.at(-1);
  if (top === undefined || localTypes.has(top.fsType)) return;
  // A flush that its server does not answer would keep the mount busy through which it began.
  const path = (await mountAbove(top))?.mountpoint ?? mountpoint;
  const waited = new AbortController();
  const late = sleep(flushLimitMs, 'late', { signal: waited.signal }).catch(() => 'done');
  // A failed flush is only logged: a broken server would else keep its volume mounted for ever.
  const flushed = syncFileSystem(path).catch((error) => debug('flush %s %o', path, error));
  const first = await Promise.race([flushed, late]);
  waited.abort();
  if (first === 'late') debug('flush %s is not done after %d ms', path, flushLimitMs);
}

/** Finds another mount of the same file system that shows the same directory or one above it: the pool's. */
async function mountAbove({ id, device, root }: Mount): Promise<Mount | undefined> {
  const isAbove = (other: string) =>
    other === '/' || root === other || root.startsWith(`${other}/`);
  return (await readMounts())
    .filter((mount) => mount.id !== id && mount.device === device && isAbove(mount.root))
    .sort((one, other) => one.root.length - other.root.length)[0];
}
