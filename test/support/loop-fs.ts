import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Place } from './place.ts';
import { thisMachine } from './place.ts';
import { runOk, succeeded, waitFor } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

export type FileSystemKind = 'ext4' | 'xfs' | 'btrfs';

export interface FileSystem extends AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  dispose(): Promise<void>;
}

/**
 * A file system of its own in a sparse file on a loop device. Mounted on this machine before a host is started, it is seen
 * by that host, too; mounted in a host it is seen there only. mkfs.xfs wants 300 MB, mkfs.btrfs 110 MB.
 */
export async function makeFileSystem(
  kind: FileSystemKind,
  sizeMB: number,
  options: { readonly in?: Pick<Place, 'exec'> } = {},
): Promise<FileSystem> {
  const place = options.in ?? thisMachine;
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory()).path;
  const image = join(directory, 'image');
  const path = join(directory, 'mount');
  await writeFile(image, '');
  await truncate(image, sizeMB * 1024 * 1024);
  await mkdir(path);
  await runOk(`mkfs.${kind}`, ['-q', kind === 'ext4' ? '-F' : '-f', image]);
  // The loop device frees itself once the file system is no longer mounted anywhere.
  const mount = ['-o', 'loop', image, path];
  succeeded(['mount', ...mount], await place.exec('mount', mount));
  stack.defer(() => unmount(place, path));

  const owned = stack.move();
  const dispose = () => owned.disposeAsync();
  return { path, dispose, [Symbol.asyncDispose]: dispose };
}

/** Waits a little for those who still use it. A leak is reported, but not left behind. */
async function unmount(place: Pick<Place, 'exec'>, path: string): Promise<void> {
  const attempt = async () => succeeded(['umount', path], await place.exec('umount', [path]));
  try {
    await waitFor(() => attempt().then(() => true), 5_000, `${path} to be unused`);
  } catch (error) {
    await place.exec('umount', ['--lazy', path]);
    throw error;
  }
}
