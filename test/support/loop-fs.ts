import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from './machine.ts';
import { thisMachine } from './machine.ts';
import { runOk, succeeded, waitFor } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

export type FileSystemKind = 'ext4' | 'xfs' | 'btrfs';

export interface FileSystem extends AsyncDisposable {
  /** The mountpoint. */
  readonly path: string;
  dispose(): Promise<void>;
}

/**
 * Makes a file system in a sparse file on a loop device and mounts it. Hosts that start later also
 * see a mount made on this machine; a mount made in a host is visible there only. mkfs.xfs needs
 * 300 MB, mkfs.btrfs 110 MB.
 */
export async function makeFileSystem(
  kind: FileSystemKind,
  sizeMB: number,
  options: { readonly in?: Pick<Machine, 'exec'> } = {},
): Promise<FileSystem> {
  const machine = options.in ?? thisMachine;
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory()).path;
  const image = join(directory, 'image');
  const path = join(directory, 'mount');
  await writeFile(image, '');
  await truncate(image, sizeMB * 1024 * 1024);
  await mkdir(path);
  await format(kind, image);
  // The kernel frees the loop device when the file system is no longer mounted anywhere.
  const mount = ['-o', 'loop', image, path];
  succeeded(['mount', ...mount], await machine.exec('mount', mount));
  stack.defer(() => unmount(machine, path));

  const owned = stack.move();
  const dispose = () => owned.disposeAsync();
  return { path, dispose, [Symbol.asyncDispose]: dispose };
}

/**
 * mkfs.btrfs looks up the file of every loop device that is mounted (btrfs-progs 6.2, `check_mounted`),
 * and sleeps with it when that file is on a file system that does not answer, as other tests make
 * them at the same time. So it finds an empty table of mounts.
 */
async function format(kind: FileSystemKind, image: string): Promise<void> {
  if (kind !== 'btrfs') {
    await runOk(`mkfs.${kind}`, ['-q', kind === 'ext4' ? '-F' : '-f', image]);
    return;
  }
  const script = 'mount --bind /dev/null /proc/$$/mounts && exec mkfs.btrfs -q -f "$1"';
  await runOk('unshare', ['--mount', 'sh', '-c', script, 'sh', image]);
}

/** Unmounts it, waiting up to 5 s for its users. If they stay, detaches it and throws. */
async function unmount(machine: Pick<Machine, 'exec'>, path: string): Promise<void> {
  const attempt = async () => succeeded(['umount', path], await machine.exec('umount', [path]));
  try {
    await waitFor(() => attempt().then(() => true), 5_000, `${path} to be unused`);
  } catch (error) {
    await machine.exec('umount', ['--lazy', path]);
    throw error;
  }
}
