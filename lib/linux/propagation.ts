import type { Mount } from './mountinfo.ts';
import { parseMountInfo, readMounts } from './mountinfo.ts';
import { processFile } from './proc.ts';

/** What is mounted for containers would be seen by this process alone. */
export class NoPropagationError extends Error {
  override readonly name = 'NoPropagationError';
}

/**
 * Rejects when mounts below a directory would not reach the mount namespace that this process was
 * started from; a container would then get an empty directory of the host instead of its volume.
 *
 * An engine that was killed leaves a managed plugin like that now and then: it starts the plugin
 * anew while it is still taking the old propagated mount away. The next start puts it right, and
 * the engine starts a plugin that has ended again at once.
 *
 * Only looks where it can: the parent process is not seen without the host's process IDs.
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

/** The mount that a path lies in. */
function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  return mounts
    .filter(({ mountpoint }) => `${path}/`.startsWith(mountpoint === '/' ? '/' : `${mountpoint}/`))
    .toSorted((a, b) => a.mountpoint.length - b.mountpoint.length)
    .at(-1);
}

/** Mounts of one group get what is mounted in any of them; none for a private one. */
function peerGroup(mount: Mount | undefined): string | undefined {
  return mount?.optionalFields.find((field) => field.startsWith('shared:'));
}
