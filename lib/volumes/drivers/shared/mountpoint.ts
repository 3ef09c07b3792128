import { mkdir, rmdir } from 'node:fs/promises';
import createDebug from 'debug';
import pRetry from 'p-retry';
import { hasCode } from '../../../linux/error-code.ts';
import { mountUsers } from '../../../linux/mount-users.ts';
import type { Mount } from '../../../linux/mountinfo.ts';
import { currentMountsAt, isMountpoint } from '../../../linux/mountinfo.ts';
import { addMountWords, bindMount, isBusy, unmount } from '../../../linux/mounting.ts';
import { run } from '../../../linux/run.ts';
import { InUseError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';

const debug = createDebug('berth:driver');

/**
 * Creates the directory of a mountpoint and runs `mount` with these arguments and the mountpoint.
 * When it rejects, nothing is mounted and the directory is gone.
 */
export async function mountAt(
  mountpoint: string,
  args: readonly string[],
  { signal }: DriverContext,
): Promise<void> {
  await mkdir(mountpoint, { recursive: true, mode: 0o700 });
  await mounting(mountpoint, signal, async () => {
    await run('mount', [...args, mountpoint], { signal });
  });
}

/**
 * Makes a directory appear at a mountpoint that exists, with words of mount(8). When it rejects, nothing is
 * mounted and the mountpoint is gone.
 */
export async function bindAt(
  mountpoint: string,
  directory: string,
  words: readonly string[],
  { signal }: DriverContext,
): Promise<void> {
  await mounting(mountpoint, signal, async () => {
    await bindMount(directory, mountpoint, signal);
    await addMountWords(mountpoint, words, signal);
  });
}

async function mounting(
  mountpoint: string,
  signal: AbortSignal,
  mount: () => Promise<void>,
): Promise<void> {
  try {
    signal.throwIfAborted();
    await mount();
    signal.throwIfAborted();
  } catch (error) {
    // What was aborted may have mounted the volume before it ended.
    if (await isMountpoint(mountpoint)) await unmount(mountpoint);
    await removeMountpoint(mountpoint);
    throw error;
  }
}

/**
 * Unmounts everything that is mounted at a path. The kernel writes back a file system with its last
 * mount; nothing else is written back, least of all what other programs wrote to the file system that a
 * bind mount shows a part of. Waits a little for the last users to leave; rejects InUseError, which names
 * the processes, when they don't. Resolves also when nothing is mounted there. `mounts`: those at the
 * path, if the caller has just read them.
 */
export async function unmountAt(
  mountpoint: string,
  { signal }: DriverContext,
  mounts?: readonly Mount[],
): Promise<void> {
  signal.throwIfAborted();
  for (let left = (mounts ?? (await currentMountsAt(mountpoint))).length; left > 0; left--) {
    try {
      await unmountPatiently(mountpoint, signal);
    } catch (error) {
      if (!isBusy(error)) throw error;
      const users = await mountUsers(mountpoint);
      const who = users.length === 0 ? '' : ` by ${users.join(', ')}`;
      throw new InUseError(`${mountpoint} can't be unmounted: it is in use${who}`, {
        cause: error,
      });
    }
  }
}

/**
 * Unmounts everything that is mounted at a path without writing it back. A process that does not
 * leave in time keeps its open files, but no process finds the mount any more. Resolves also when
 * nothing is mounted there.
 */
export async function detachAt(mountpoint: string, { signal }: DriverContext): Promise<void> {
  signal.throwIfAborted();
  for (let left = (await currentMountsAt(mountpoint)).length; left > 0; left--) {
    try {
      await unmountPatiently(mountpoint, signal);
    } catch (error) {
      if (!isBusy(error)) throw error;
      debug('lazily mountpoint=%s users=%s', mountpoint, (await mountUsers(mountpoint)).join(','));
      await unmount(mountpoint, { isLazy: true });
    }
  }
}

/**
 * Removes the directory of a mountpoint, if it exists. A directory that is not empty stays: somebody
 * wrote into it while nothing was mounted, and berth does not delete that.
 */
export async function removeMountpoint(mountpoint: string): Promise<void> {
  try {
    await rmdir(mountpoint);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTEMPTY')) throw error;
  }
}

function unmountPatiently(mountpoint: string, signal: AbortSignal) {
  return pRetry(() => unmount(mountpoint), {
    retries: 6,
    minTimeout: 50,
    maxTimeout: 1000,
    signal,
    shouldRetry: ({ error }) => isBusy(error),
  });
}
