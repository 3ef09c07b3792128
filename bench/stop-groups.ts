import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { ControlGroup } from '../lib/linux/control-group.ts';
import { isEmpty } from '../lib/linux/control-group.ts';
import { killGroup } from '../lib/linux/control-group-kill.ts';
import { readMounts } from '../lib/linux/mountinfo.ts';
import type { User } from '../sentinel/ports.ts';
import { KernelStops } from '../sentinel/stops/kernel-stops.ts';
import { startProcess, waitFor } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';
import type { Figure } from './statistics.ts';
import { printFigures, quantile } from './statistics.ts';

const counts = [1, 20, 100, 200];
const rounds = 10;
const stops = new KernelStops();

/** Measures the time from the first freeze until all of many containers stand still, and are held. */
export async function benchStopGroups(): Promise<number> {
  await using groups = await makeGroups(Math.max(...counts));
  const figures: Figure[] = [];
  let one = Number.NaN;
  for (const count of counts) {
    const users = groups.users.slice(0, count);
    const times = [];
    for (let round = 0; round < rounds; round += 1) times.push(await stopAll(users));
    const still = quantile(
      times.map(({ stillMs }) => stillMs),
      0.5,
    );
    if (count === 1) one = still;
    figures.push(
      {
        what: `${count}: all told to freeze`,
        value: quantile(
          times.map(({ toldMs }) => toldMs),
          0.5,
        ),
        unit: 'ms',
      },
      { what: `${count}: all stand still`, value: still, unit: 'ms' },
      { what: `${count}: against one`, value: still / one, unit: '×' },
      {
        what: `${count}: all held`,
        value: quantile(
          times.map(({ heldMs }) => heldMs),
          0.5,
        ),
        unit: 'ms',
      },
      {
        what: `${count}: all released`,
        value: quantile(
          times.map(({ releasedMs }) => releasedMs),
          0.5,
        ),
        unit: 'ms',
      },
    );
  }
  return printFigures(`Stopping control groups with a writer each, median of ${rounds}`, figures);
}

async function stopAll(users: readonly User[]) {
  const startMs = performance.now();
  for (const user of users) await stops.freeze(user);
  const toldMs = performance.now() - startMs;
  await untilAll(users, 'frozen');
  const stillMs = performance.now() - startMs;
  for (const user of users) await stops.hold(user);
  await untilAll(users, 'held');
  const heldMs = performance.now() - startMs;
  const releaseMs = performance.now();
  for (const user of users) await stops.release(user, false);
  const releasedMs = performance.now() - releaseMs;
  await pause(100);
  return { toldMs, stillMs, heldMs, releasedMs };
}

async function untilAll(users: readonly User[], is: 'frozen' | 'held'): Promise<void> {
  let others = users;
  while (others.length > 0) {
    const standings = await Promise.all(others.map((user) => stops.standing(user)));
    others = others.filter((_, index) => standings[index]?.is !== is);
  }
}

/** Makes groups like those of containers, with a process in each that writes every 20 ms. */
async function makeGroups(count: number) {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const mounts = await readMounts();
  const v1 = mounts.find(
    ({ fsType, superOptions }) => fsType === 'cgroup' && superOptions.includes('freezer'),
  );
  const mount = v1 ?? mounts.find(({ fsType }) => fsType === 'cgroup2');
  if (!mount) throw new Error('no control groups are mounted');
  const users: User[] = [];
  for (let index = 0; index < count; index += 1) {
    const path = join(mount.mountpoint, `berth-bench-${process.pid}-${index}`);
    const group: ControlGroup = { path, version: v1 ? 1 : 2 };
    await mkdir(path);
    stack.defer(() => rmdir(path));
    stack.defer(async () => {
      await waitFor(() => isEmpty(group), 5_000, 'the processes to end');
    });
    const script =
      'echo $$ > "$0/cgroup.procs"; exec perl -e \'while (1) { open F, ">>", $ARGV[0]; print F "x"; close F; select undef, undef, undef, 0.02 }\' "$1"';
    startProcess('sh', ['-c', script, path, join(directory.path, String(index))]);
    stack.defer(() => killGroup(group));
    users.push({ kind: 'container', key: path, group, volumes: [] });
    await waitFor(() => !isEmpty(group), 5_000, 'the process to join its group');
  }
  const owned = stack.move();
  return { users, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
