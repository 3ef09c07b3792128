import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from './error-code.ts';
import type { Mount } from './mountinfo.ts';

/**
 * The control group of a container, by which its engine pauses it. In version 1, the group of the
 * freezer.
 */
export interface ControlGroup {
  readonly path: string;
  readonly version: 1 | 2;
}

/** How long a group may take to freeze: a process in a system call freezes when it leaves it. */
const freezeLimitMs = 500;

/** Returns the group in the text of /proc/PID/cgroup; undefined if no mount shows it. */
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

/** Returns true if every process of the group is frozen, or none is left. */
export async function isFrozen(group: ControlGroup): Promise<boolean> {
  if (await isEmpty(group)) return true;
  if (group.version === 1) {
    return (await readIfAny(join(group.path, 'freezer.state')))?.trim() === 'FROZEN';
  }
  return (await readIfAny(join(group.path, 'cgroup.events')))?.includes('frozen 1') ?? true;
}

/** Freezes every process of the group. Rejects when that takes too long. */
export async function freezeGroup(group: ControlGroup): Promise<void> {
  const end = performance.now() + freezeLimitMs;
  while (!(await isFrozen(group))) {
    if (performance.now() > end) throw new Error(`${group.path} does not freeze`);
    // Version 1 freezes a process that has joined meanwhile only if asked again.
    await setFrozen(group, true);
    await sleep(5);
  }
}

export async function thawGroup(group: ControlGroup): Promise<void> {
  await setFrozen(group, false);
}

/** Kills every process of the group, frozen or not. It may take a moment until they have ended. */
export async function killGroup(group: ControlGroup): Promise<void> {
  for (const pid of await processesOf(group)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
  }
  // In version 1 a frozen process does not die. After SIGKILL a thawed process does nothing more.
  for (const each of [...(await groupsIn(group)), group]) await setFrozen(each, false);
}

/** Returns true if SIGKILL is pending for one of its processes; a frozen one can't die yet. */
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

/** Returns the processes of the group and of all groups inside it. */
async function processesOf(group: ControlGroup): Promise<number[]> {
  const all = [group, ...(await groupsIn(group))];
  return (await Promise.all(all.map(ownProcesses))).flat();
}

/** Returns the processes of the group itself. */
export async function ownProcesses({ path }: ControlGroup): Promise<number[]> {
  const text = (await readIfAny(join(path, 'cgroup.procs'))) ?? '';
  return text.split('\n').filter(Boolean).map(Number);
}

/** Returns the groups inside it, at any depth. */
export async function groupsIn({ path, version }: ControlGroup): Promise<ControlGroup[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  const children = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }): ControlGroup => ({ path: join(path, name), version }));
  return [...children, ...(await Promise.all(children.map(groupsIn))).flat()];
}

/** Returns true if a freeze of the group itself, not only of its parent, is complete. */
export async function isFrozenItself({ path, version }: ControlGroup): Promise<boolean> {
  const [wish, state, isState] =
    version === 1
      ? ['freezer.self_freezing', 'freezer.state', 'FROZEN']
      : ['cgroup.freeze', 'cgroup.events', 'frozen 1'];
  if ((await readIfAny(join(path, wish)))?.trim() !== '1') return false;
  return (await readIfAny(join(path, state)))?.includes(isState) ?? true;
}

/** Moves a process to a group. Ignores a process that has ended. */
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

/** Resolves to undefined if the file does not exist, or disappears while it is read. */
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
