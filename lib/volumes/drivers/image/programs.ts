import type { RunOptions, RunResult } from '../../../linux/run.ts';
import { run } from '../../../linux/run.ts';

/** The programs of this driver, with the Debian package of each. */
export const imagePrograms = {
  'mkfs.ext4': 'e2fsprogs',
  tune2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  filefrag: 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_admin: 'xfsprogs',
  xfs_growfs: 'xfsprogs',
  fallocate: 'util-linux',
  losetup: 'mount',
} as const;

/** Runs one of them as `run` does. The error for a program that is missing names its package. */
export function runOwn(
  program: keyof typeof imagePrograms,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return run(program, args, { ...options, debianPackage: imagePrograms[program] });
}
