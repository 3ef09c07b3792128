// A control group like a container's, made without an engine, with real processes in it.
import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { ControlGroup } from '../../../lib/linux/control-group.ts';
import { groupsIn, isEmpty, removeGroup } from '../../../lib/linux/control-group.ts';
import { killGroup } from '../../../lib/linux/control-group-kill.ts';
import type { Mount } from '../../../lib/linux/mountinfo.ts';
import { readMounts } from '../../../lib/linux/mountinfo.ts';
import type { User } from '../../../sentinel/ports.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

export const versions = [1, 2] as const;

/** Processes that write to the file `$1`. Each is ended with its group. */
export const programs = {
  /** Writes, and starts a process for each pause. */
  writer: 'while :; do echo >> "$1"; sleep 0.002; done',
  /** Is another process after each write: it forks and ends. */
  reforking: `exec perl -e '
    while (1) { fork and exit; open F, ">>", $ARGV[0]; print F "x"; close F; }' "$1"`,
  /** Waits for a child that shares its memory and sleeps; writes once before. */
  vforking: `exec perl -e '
    open F, ">>", $ARGV[0]; print F "x"; close F;
    require "syscall.ph"; if (syscall(&SYS_vfork) == 0) { syscall(&SYS_pause) while 1 }' "$1"`,
  /** 3,000 processes that sleep; writes when all are there. */
  crowd: `exec perl -e '
    for (1 .. 3000) { fork or do { sleep 10000; exit } }
    open F, ">>", $ARGV[0]; print F "x"; close F; sleep 10000' "$1"`,
} as const;

export interface UserGroup extends AsyncDisposable {
  readonly group: ControlGroup;
  readonly user: User;
  /** Makes a group inside it. */
  inner(name: string): Promise<ControlGroup>;
  /** Starts a program in the group, or in one inside it, and waits for its first write. */
  start(program: string, group?: ControlGroup): Promise<Writer>;
}

export interface Writer extends RunningProcess {
  /** The file to which the program writes. */
  readonly file: string;
  /** Returns true if it writes within a moment. */
  writes(): Promise<boolean>;
  /** Waits until it has written once more. */
  untilItWrites(): Promise<void>;
}

/** Returns the mounts with control groups of this version only, as on a machine that has no other. */
export async function mountsOf(version: 1 | 2): Promise<Mount[]> {
  const type = version === 1 ? 'cgroup' : 'cgroup2';
  return (await readMounts()).filter(({ fsType }) => fsType === type);
}

/** Returns undefined, and says so, if this machine has no control groups of this version. */
export async function makeUserGroup(version: 1 | 2): Promise<UserGroup | undefined> {
  const mount = (await mountsOf(version)).find(
    ({ superOptions }) => version === 2 || superOptions.includes('freezer'),
  );
  if (!mount) {
    process.stderr.write(`skipped: control groups of version ${version} are not mounted\n`);
    return undefined;
  }
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const name = randomBytes(32).toString('hex'); // As engines name groups.
  const group: ControlGroup = { path: join(mount.mountpoint, name), version };
  await mkdir(group.path);
  stack.defer(() => removeAll(group));
  let files = 0;

  async function start(program: string, inGroup = group): Promise<Writer> {
    files += 1;
    const file = join(directory.path, String(files));
    const script = `echo $$ > "$0/cgroup.procs" || exit 1; ${program}`;
    const running = startProcess('sh', ['-c', script, inGroup.path, file]);
    const size = () => (existsSync(file) ? statSync(file).size : 0);
    const writer = Object.assign(running, {
      file,
      writes: async () => {
        const before = size();
        await pause(150);
        return size() !== before;
      },
      untilItWrites: async () => {
        const before = size();
        await waitFor(() => size() !== before, 10_000, `${program} to write`);
      },
    });
    await waitFor(() => size() > 0, 30_000, `${program} to write`);
    return writer;
  }

  const owned = stack.move();
  return {
    group,
    user: { kind: 'container', key: group.path, id: name, group, volumes: ['db'] },
    inner: async (inner) => {
      const path = join(group.path, inner);
      await mkdir(path);
      return { path, version };
    },
    start,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function removeAll(group: ControlGroup): Promise<void> {
  if (!existsSync(group.path)) return;
  await killGroup(group);
  await waitFor(() => isEmpty(group), 10_000, 'all processes to end');
  const innermostFirst = [group, ...groupsIn(group)].toReversed();
  for (const each of innermostFirst) {
    await waitFor(() => removeGroup(each), 5_000, `${each.path} to be unused`);
  }
}
