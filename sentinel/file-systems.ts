import { freeze, thaw } from '../lib/linux/freeze.ts';
import { isMountpoint } from '../lib/linux/mountinfo.ts';
import { run } from '../lib/linux/run.ts';
import { shutDown } from '../lib/linux/shut-down.ts';

/** What a flush is given: storage that is away can hold it for ever. */
const flushLimitMs = 60_000;

/** What the sentinel needs to know of a volume's file system. */
export interface GuardedFileSystem {
  readonly mountpoint: string;
  readonly ownsFileSystem: boolean;
}

/** Writes what is cached to storage. May take long. */
export async function flush({ mountpoint }: GuardedFileSystem): Promise<void> {
  if (!(await isMountpoint(mountpoint))) return;
  await run('sync', ['--file-system', mountpoint], { timeoutMs: flushLimitMs });
}

/**
 * Makes the file system still, so that even the kernel writes nothing more: for a host that is
 * given it next, it looks like one that was unmounted. Where it is not the volume's own, what is
 * cached is written. Idempotent; may take long.
 */
export async function makeStill(fileSystem: GuardedFileSystem): Promise<void> {
  const { mountpoint, ownsFileSystem } = fileSystem;
  if (!ownsFileSystem) return flush(fileSystem);
  if (await isMountpoint(mountpoint)) await freeze(mountpoint);
}

/**
 * Takes the file system off its storage: nothing that is cached for it is written any more, and who
 * uses it gets errors. Where it is not the volume's own there is nothing to take away. Idempotent.
 */
export async function cutOff({ mountpoint, ownsFileSystem }: GuardedFileSystem): Promise<void> {
  if (ownsFileSystem) await shutDown(mountpoint);
}

/** Undoes `makeStill`. Idempotent. */
export async function letGo({ mountpoint, ownsFileSystem }: GuardedFileSystem): Promise<void> {
  if (ownsFileSystem) await thaw(mountpoint);
}
