import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { freezeOf } from './control-group.ts';
import { hasCode } from './error-code.ts';
import { readMounts } from './mountinfo.ts';
import { namespaceOf, processFile } from './proc.ts';

/**
 * A frozen control group in which the sentinel keeps processes of a container, inside the container's
 * own group. Its name is all that is left when the sentinel's state is lost.
 */
export interface HeldGroup {
  /** The path by which this process reaches it. */
  readonly path: string;
  /** The version of its hierarchy; in version 1 that of the freezer. */
  readonly version: 1 | 2;
  /** The engine's ID of the container. */
  readonly container: string;
  readonly pids: readonly number[];
  readonly since: Date;
}

const heldName = 'berth-held';

/**
 * Finds all such groups with processes that stand still on this machine, on both versions of control
 * groups. One that is not frozen itself belongs to a container that a sentinel has released.
 */
export async function heldGroups(): Promise<HeldGroup[]> {
  const found: HeldGroup[] = [];
  const seen = new Set<1 | 2>();
  for (const { fsType, superOptions, mountpoint } of await readMounts()) {
    const isFreezer = fsType === 'cgroup' && superOptions.includes('freezer');
    if (!isFreezer && fsType !== 'cgroup2') continue;
    const version = isFreezer ? 1 : 2;
    if (seen.has(version)) continue; // A hierarchy may be mounted several times.
    seen.add(version);
    for (const path of await groupsBelow(mountpoint)) {
      const group = await heldGroup(path, version);
      if (group) found.push(group);
    }
  }
  return found;
}

/**
 * Returns true if one of its processes descends from a process in this process's mount namespace, as
 * a container's do from those of its host. (Only tests make several hosts of one machine.)
 */
export async function isOfThisHost({ pids }: HeldGroup): Promise<boolean> {
  const own = await namespaceOf('self', 'mnt');
  for (let pid = pids[0] ?? 0; pid > 0; pid = await parentOf(pid)) {
    if ((await namespaceOf(pid, 'mnt')) === own) return true;
  }
  return false;
}

/** Lets its processes run again, if no engine has paused them. Idempotent. */
export async function releaseHeld(group: HeldGroup): Promise<void> {
  const home = dirname(group.path);
  for (const pid of group.pids) await write(join(home, 'cgroup.procs'), String(pid));
  await thaw(home, group.version);
  await thaw(group.path, group.version);
}

/** Kills its processes. Idempotent. They may take a moment to end. */
export async function endHeld(group: HeldGroup): Promise<void> {
  for (const pid of group.pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
  }
  // In version 1 a frozen process does not die.
  await thaw(dirname(group.path), group.version);
  await thaw(group.path, group.version);
}

/** Returns the shell command by which a person does the same as `endHeld`. */
export function endCommand({ path, version }: HeldGroup): string {
  const [file, value] = thawFile(version);
  return `kill -9 $(cat ${path}/cgroup.procs); for g in ${path} ${dirname(path)}; do echo ${value} > $g/${file}; done`;
}

async function groupsBelow(path: string): Promise<string[]> {
  const entries = (await ifThere(readdir(path, { withFileTypes: true }))) ?? [];
  const children = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const inner = children.filter((name) => name !== heldName).map((name) => join(path, name));
  return [
    ...children.filter((name) => name === heldName).map((name) => join(path, name)),
    ...(await Promise.all(inner.map(groupsBelow))).flat(),
  ];
}

async function heldGroup(path: string, version: 1 | 2): Promise<HeldGroup | undefined> {
  if (freezeOf({ path, version })?.isRequested !== true) return undefined;
  const text = (await ifThere(readFile(join(path, 'cgroup.procs'), 'latin1'))) ?? '';
  const pids = text.split('\n').filter(Boolean).map(Number);
  const since = (await ifThere(stat(path)))?.ctime;
  const container = containerIn(dirname(path));
  if (pids.length === 0 || since === undefined || container === undefined) return undefined;
  return { path, version, container, pids, since };
}

/** Engines name a group `ID`, and under systemd `docker-ID.scope` and so on. */
function containerIn(path: string): string | undefined {
  if (path === '/') return undefined;
  const id = /^(?:[a-z][a-z0-9_.-]*-)?([0-9a-f]{64})(?:\.scope)?$/.exec(basename(path))?.[1];
  return id ?? containerIn(dirname(path));
}

async function thaw(path: string, version: 1 | 2): Promise<void> {
  const [file, value] = thawFile(version);
  await write(join(path, file), value);
}

function thawFile(version: 1 | 2): readonly [file: string, value: string] {
  return version === 1 ? ['freezer.state', 'THAWED'] : ['cgroup.freeze', '0'];
}

/** Ignores a group or a process that has gone. */
async function write(path: string, text: string): Promise<void> {
  await ifThere(writeFile(path, text, { flag: 'r+' }));
}

async function ifThere<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV', 'ESRCH')) return undefined;
    throw error;
  }
}

async function parentOf(pid: number): Promise<number> {
  const parent = /^PPid:\s*(\d+)$/m.exec((await processFile(pid, 'status')) ?? '')?.[1];
  return Number(parent ?? 0);
}
