import type { Mount } from './mountinfo.ts';
import { parseMountInfo, readMounts } from './mountinfo.ts';
import { processFile } from './proc.ts';

/** Mounts of this process would not reach the host, so containers would not see them. */
export class NoPropagationError extends Error {
  override readonly name = 'NoPropagationError';
}

/**
 * Rejects when mounts below a directory would not reach the mount namespace that this process was
 * started from; a container would then get an empty directory of the host instead of its volume.
 *
 * An engine that was killed sometimes leaves a managed plugin in this state: it starts the plugin
 * again while it still removes the old propagated mount. The next start repairs it, and the engine
 * starts a plugin that has ended again at once.
 *
 * Resolves without a check if this process does not see its parent (it has its own PID namespace).
 */
export async function requirePropagation(directory: string): Promise<void> {
  const group = peerGroup(mountOf(directory, await readMounts()));
  if (group === undefined) return;
  const outside = await processFile(process.ppid, 'mountinfo');
  if (outside === undefined) return;
  if (parseMountInfo(outside).some((mount) => peerGroup(mount) === group)) return;
  throw new NoPropagationError(
    `what is mounted below ${directory} would not reach the host, as its mount is not shared with it`,
  );
}

/** Returns the mount that a path lies in. */
function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  return mounts
    .filter(({ mountpoint }) => `${path}/`.startsWith(mountpoint === '/' ? '/' : `${mountpoint}/`))
    .toSorted((a, b) => a.mountpoint.length - b.mountpoint.length)
    .at(-1);
}

/** Returns the peer group: its mounts share what is mounted below them. Undefined if private. */
function peerGroup(mount: Mount | undefined): string | undefined {
  return mount?.optionalFields.find((field) => field.startsWith('shared:'));
}
