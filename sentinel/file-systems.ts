import { freeze, thaw } from '../lib/linux/freeze.ts';
import { isMountpoint } from '../lib/linux/mountinfo.ts';
import { run } from '../lib/linux/run.ts';
import { shutDown } from '../lib/linux/shut-down.ts';

/** Limit of a flush: storage that is away can block it for ever. */
const flushLimitMs = 60_000;

/** A volume's file system, as the sentinel needs to know it. */
export interface WatchedFileSystem {
  readonly mountpoint: string;
  readonly ownsFileSystem: boolean;
}

/** Writes cached data back to storage. May take long. */
export async function flush({ mountpoint }: WatchedFileSystem): Promise<void> {
  if (!(await isMountpoint(mountpoint))) return;
  await run('sync', ['--file-system', mountpoint], { timeoutMs: flushLimitMs });
}

/**
 * Freezes the file system, so that even the kernel writes nothing more; the next host finds it as if
 * it had been unmounted. Only writes cached data back where the file system is not the volume's
 * own. Idempotent; may take long.
 */
export async function makeStill(fileSystem: WatchedFileSystem): Promise<void> {
  const { mountpoint, ownsFileSystem } = fileSystem;
  if (!ownsFileSystem) return flush(fileSystem);
  if (await isMountpoint(mountpoint)) await freeze(mountpoint);
}

/**
 * Shuts the file system down: the kernel drops cached data, and every access fails. Does nothing
 * where the file system is not the volume's own. Idempotent.
 */
export async function cutOff({ mountpoint, ownsFileSystem }: WatchedFileSystem): Promise<void> {
  if (ownsFileSystem) await shutDown(mountpoint);
}

/** Undoes `makeStill`. Idempotent. */
export async function thawFileSystem({
  mountpoint,
  ownsFileSystem,
}: WatchedFileSystem): Promise<void> {
  if (ownsFileSystem) await thaw(mountpoint);
}
