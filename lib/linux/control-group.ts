import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from './error-code.ts';
import type { Mount } from './mountinfo.ts';

/**
 * The control group of a container: what its engine pauses it by, and what pauses it when the
 * engine does not answer. Of version 1 (its freezer) or 2.
 */
export interface ControlGroup {
  readonly path: string;
  readonly version: 1 | 2;
}

/** How long a group is given to stand still: processes in the kernel freeze when they leave it. */
const freezeLimitMs = 500;

/** The group in a process's /proc/PID/cgroup; undefined when it can't be seen through the mounts. */
export function controlGroupIn(text: string, mounts: readonly Mount[]): ControlGroup | undefined {
  const groups = text.split('\n').map((line) => {
    const [, controllers = '', ...path] = line.split(':');
    return { controllers: controllers.split(','), path: path.join(':') };
  });
  const freezer = groups.find(({ controllers }) => controllers.includes('freezer'));
  if (freezer) {
    const mount = mounts.find(
      ({ fsType, superOptions }) => fsType === 'cgroup' && superOptions.includes('freezer'),
    );
    return mount && { path: pathBelow(mount, freezer.path), version: 1 };
  }
  const unified = groups.find(({ controllers, path }) => controllers[0] === '' && path !== '');
  const mount = mounts.find(({ fsType }) => fsType === 'cgroup2');
  return unified && mount && { path: pathBelow(mount, unified.path), version: 2 };
}

function pathBelow({ mountpoint, root }: Mount, path: string): string {
  return join(mountpoint, relative(root, path));
}

/** Whether every process of the group stands still. True when there is none left. */
export async function isFrozen(group: ControlGroup): Promise<boolean> {
  if (await isEmpty(group)) return true;
  if (group.version === 1) {
    return (await readIfAny(join(group.path, 'freezer.state')))?.trim() === 'FROZEN';
  }
  return (await readIfAny(join(group.path, 'cgroup.events')))?.includes('frozen 1') ?? true;
}

/** Rejects when the group does not stand still in time. */
export async function freezeGroup(group: ControlGroup): Promise<void> {
  const end = performance.now() + freezeLimitMs;
  while (!(await isFrozen(group))) {
    if (performance.now() > end) throw new Error(`${group.path} does not freeze`);
    // Version 1 has to be told again when the group gained a process meanwhile.
    await setFrozen(group, true);
    await sleep(5);
  }
}

export async function thawGroup(group: ControlGroup): Promise<void> {
  await setFrozen(group, false);
}

/** Kills every process of the group, frozen or not. They may take a moment to end. */
export async function killGroup(group: ControlGroup): Promise<void> {
  for (const pid of await processesOf(group)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
  }
  // A frozen process of version 1 does not end. One that is killed does nothing more when thawed.
  for (const each of [...(await groupsIn(group)), group]) await setFrozen(each, false);
}

/** Whether somebody has sent SIGKILL to one of its processes, which a frozen one does not follow. */
export async function isBeingKilled(group: ControlGroup): Promise<boolean> {
  for (const pid of await processesOf(group)) {
    const status = (await readIfAny(`/proc/${pid}/status`)) ?? '';
    for (const [, pending = '0'] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)) {
      if ((BigInt(`0x${pending}`) & sigKillBit) !== 0n) return true;
    }
  }
  return false;
}

const sigKillBit = 1n << 8n;

export async function isEmpty(group: ControlGroup): Promise<boolean> {
  return (await processesOf(group)).length === 0;
}

/** Waits until every process of the group has ended, for at most `limitMs`. */
export async function becomesEmpty(group: ControlGroup, limitMs: number): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await isEmpty(group)) && performance.now() < end) await sleep(5);
}

/** Also those in groups within it. */
async function processesOf(group: ControlGroup): Promise<number[]> {
  const all = [group, ...(await groupsIn(group))];
  return (await Promise.all(all.map(ownProcesses))).flat();
}

/** Those of the group itself. */
export async function ownProcesses({ path }: ControlGroup): Promise<number[]> {
  const text = (await readIfAny(join(path, 'cgroup.procs'))) ?? '';
  return text.split('\n').filter(Boolean).map(Number);
}

/** The groups that were made within it, at any depth. */
export async function groupsIn({ path, version }: ControlGroup): Promise<ControlGroup[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  const children = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }): ControlGroup => ({ path: join(path, name), version }));
  return [...children, ...(await Promise.all(children.map(groupsIn))).flat()];
}

/** Whether the group is frozen by itself, not only with the one it is in; and has come to it. */
export async function isFrozenItself({ path, version }: ControlGroup): Promise<boolean> {
  const [wish, state, isState] =
    version === 1
      ? ['freezer.self_freezing', 'freezer.state', 'FROZEN']
      : ['cgroup.freeze', 'cgroup.events', 'frozen 1'];
  if ((await readIfAny(join(path, wish)))?.trim() !== '1') return false;
  return (await readIfAny(join(path, state)))?.includes(isState) ?? true;
}

/** Moves a process to a group; one that has ended is passed over. */
export async function moveTo({ path }: ControlGroup, pid: number): Promise<void> {
  try {
    await writeFile(join(path, 'cgroup.procs'), String(pid), { flag: 'r+' });
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

export async function setFrozen({ path, version }: ControlGroup, frozen: boolean): Promise<void> {
  const [file, value] =
    version === 1
      ? ['freezer.state', frozen ? 'FROZEN' : 'THAWED']
      : ['cgroup.freeze', frozen ? '1' : '0'];
  try {
    await writeFile(join(path, file), value, { flag: 'r+' });
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** Undefined when it is not there, or went while it was read. */
async function readIfAny(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV') || hasCode(error, 'ESRCH');
}
