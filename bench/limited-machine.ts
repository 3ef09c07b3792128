import { existsSync } from 'node:fs';
import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../test/support/machine.ts';
import { thisMachine } from '../test/support/machine.ts';
import { startProcess, waitFor } from '../test/support/processes.ts';

const periodUs = 100_000;

/** This machine, with a limit of processor time for what is started on it. */
export interface LimitedMachine extends AsyncDisposable {
  readonly machine: Machine;
  /** Lets its processes, together, use this share of one core; undefined: no limit. */
  limit(share: number | undefined): Promise<void>;
}

/** Makes a control group for the limit, of version 1 or 2, as this machine has it. Needs root. */
export async function limitedMachine(): Promise<LimitedMachine> {
  const isFirst = existsSync('/sys/fs/cgroup/cpu');
  const parent = isFirst ? '/sys/fs/cgroup/cpu' : '/sys/fs/cgroup';
  const path = join(parent, `berth-bench-${process.pid}`);
  await mkdir(path);
  return {
    machine: {
      ...thisMachine,
      // The shell joins the group and then becomes the program, so its pid is the program's.
      spawn: (command, args, options) => {
        const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
        return startProcess('/bin/sh', ['-c', script, path, command, ...args], options);
      },
    },
    limit: (share) => {
      const quotaUs = share === undefined ? undefined : Math.round(share * periodUs);
      return isFirst
        ? writeFile(join(path, 'cpu.cfs_quota_us'), `${quotaUs ?? -1}`)
        : writeFile(join(path, 'cpu.max'), `${quotaUs ?? 'max'} ${periodUs}`);
    },
    [Symbol.asyncDispose]: async () => {
      const isRemoved = () =>
        rmdir(path).then(
          () => true,
          () => false, // Its last process has not quite ended yet.
        );
      await waitFor(isRemoved, 10_000, `${path} to be empty`);
    },
  };
}
