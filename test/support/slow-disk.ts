import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { FileSystem } from './loop-fs.ts';
import { makeFileSystem } from './loop-fs.ts';
import { runOk, waitFor } from './processes.ts';

/** The hierarchy of cgroup v1 that limits the disk accesses of a group of processes. */
export const blkioDirectory = '/sys/fs/cgroup/blkio';

/** A file system whose disk can be throttled for some processes. */
export interface SlowDisk extends AsyncDisposable {
  readonly path: string;
  /** Limits the disk's writes per second for these processes; undefined removes the limit. */
  limit(pids: readonly number[], writesPerSecond: number | undefined): Promise<void>;
  /** Limits the disk's bytes per second for the kernel, which writes cached data back. */
  limitKernel(bytesPerSecond: number | undefined): Promise<void>;
}

export async function makeSlowDisk(sizeMB: number): Promise<SlowDisk> {
  await using stack = new AsyncDisposableStack();
  const disk: FileSystem = stack.use(await makeFileSystem('ext4', sizeMB));
  const device = (await runOk('findmnt', ['-n', '-o', 'MAJ:MIN', disk.path])).trim();
  const group = join(blkioDirectory, basename(join(disk.path, '..')));
  await mkdir(group);
  // A group can be removed only after its processes have ended.
  stack.defer(async () => {
    await waitFor(() => rmdir(group).then(() => true), 5_000, `${group} to be empty`);
  });
  const limitKernel = (bytesPerSecond = 0) =>
    writeFile(
      join(blkioDirectory, 'blkio.throttle.write_bps_device'),
      `${device} ${bytesPerSecond}`,
    );
  // The disk could not be unmounted in time otherwise.
  stack.defer(() => limitKernel());
  const owned = stack.move();
  return {
    path: disk.path,
    limitKernel,
    limit: async (pids, writesPerSecond = 0) => {
      const limit = `${device} ${writesPerSecond}`;
      await writeFile(join(group, 'blkio.throttle.write_iops_device'), limit);
      for (const pid of pids) await writeFile(join(group, 'cgroup.procs'), String(pid));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
