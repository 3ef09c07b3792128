import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { hasCode } from './error-code.ts';
import type { Mount } from './mountinfo.ts';

/*
 * Control groups: who is in them, and the freezer of both versions (cgroups(7); the kernel's
 * freezer-subsystem.rst and cgroup-v2.rst). All calls are synchronous: each takes some
 * microseconds, and whoever stops a writer must not give up the processor before it has done so.
 */

/**
 * The control group of a container, by which its engine pauses it. In version 1, the group of the
 * freezer.
 */
export interface ControlGroup {
  readonly path: string;
  readonly version: 1 | 2;
}

/**
 * How far a freeze has come. In version 1 the state counts the groups inside. In version 2 `frozen` is
 * exact for a group without groups inside that have processes, and while a request applies to it.
 */
export interface GroupFreeze {
  readonly is: 'thawed' | 'freezing' | 'frozen';
  /** A freeze of the group itself is requested, not only one of a group around it. */
  readonly isRequested: boolean;
}

/** Which file requests a freeze, and with which text. */
const freezer = {
  1: { file: 'freezer.state', freeze: 'FROZEN', thaw: 'THAWED' },
  2: { file: 'cgroup.freeze', freeze: '1', thaw: '0' },
} as const;

/**
 * Whether a list, and a move, names whole processes or single threads: `tasks` in version 1,
 * `cgroup.threads` in version 2.
 */
export type Members = 'cgroup.procs' | 'tasks' | 'cgroup.threads';

/** Returns the group in the text of /proc/PID/cgroup; undefined if no mount shows it. */
export function controlGroupIn(text: string, mounts: readonly Mount[]): ControlGroup | undefined {
  const groups = text.split('\n').map((line) => {
    const [, controllers = '', ...path] = line.split(':');
    return { controllers: controllers.split(','), path: path.join(':') };
  });
  const v1 = groups.find(({ controllers }) => controllers.includes('freezer'));
  const v1Mount = mounts.find(
    ({ fsType, superOptions }) => fsType === 'cgroup' && superOptions.includes('freezer'),
  );
  if (v1 && v1Mount) return { path: pathBelow(v1Mount, v1.path), version: 1 };
  // A freezer of version 1 that no mount shows can't be used, but version 2 freezes as well.
  const v2 = groups.find(({ controllers, path }) => controllers[0] === '' && path !== '');
  const v2Mount = mounts.find(({ fsType }) => fsType === 'cgroup2');
  return v2 && v2Mount && { path: pathBelow(v2Mount, v2.path), version: 2 };
}

function pathBelow({ mountpoint, root }: Mount, path: string): string {
  return join(mountpoint, relative(root, path));
}

/** Returns undefined if the group has gone. */
export function freezeOf(group: ControlGroup): GroupFreeze | undefined {
  return group.version === 1 ? freezeOfV1(group) : freezeOfV2(group);
}

function freezeOfV1(group: ControlGroup): GroupFreeze | undefined {
  // Reading the state makes the kernel look at each process: FROZEN is exact at this moment.
  const state = readOf(group, 'freezer.state')?.trim();
  if (state === undefined) return undefined;
  if (state === 'THAWED') return { is: 'thawed', isRequested: false };
  const isRequested = readOf(group, 'freezer.self_freezing')?.trim() === '1';
  return { is: state === 'FROZEN' ? 'frozen' : 'freezing', isRequested };
}

function freezeOfV2(group: ControlGroup): GroupFreeze | undefined {
  const wish = readOf(group, 'cgroup.freeze');
  const events = readOf(group, 'cgroup.events');
  if (wish === undefined || events === undefined) return undefined;
  const isRequested = wish.trim() === '1';
  if (/^frozen 1$/m.test(events)) return { is: 'frozen', isRequested };
  return { is: isRequested ? 'freezing' : 'thawed', isRequested };
}

/**
 * Requests that all processes of the group and of those inside it freeze, or takes the request
 * back. One write, which also applies to what they fork later. Repeating it wakes in version 1
 * those that have not noticed. No error if the group has gone.
 */
export function setFrozen(group: ControlGroup, frozen: boolean): void {
  const { freeze, thaw } = freezer[group.version];
  ignoreGone(() => writeFileSync(freezeFileOf(group), frozen ? freeze : thaw, { flag: 'r+' }));
}

/** Returns the file that freezes the group. */
export function freezeFileOf({ path, version }: ControlGroup): string {
  return join(path, freezer[version].file);
}

/** Returns true if the group, or one inside it, has a process. */
export function isPopulated(group: ControlGroup): boolean {
  if (group.version === 2) return /^populated 1$/m.test(readOf(group, 'cgroup.events') ?? '');
  return ownProcesses(group).length > 0 || childrenOf(group).some(isPopulated);
}

export function isEmpty(group: ControlGroup): boolean {
  return !isPopulated(group);
}

/** Returns the processes of the group and of all groups inside it. */
export function processesOf(group: ControlGroup): number[] {
  return [group, ...groupsIn(group)].flatMap((each) => ownProcesses(each));
}

/** Returns the processes of the group itself. */
export function ownProcesses(group: ControlGroup): number[] {
  return membersIn(group, 'cgroup.procs');
}

/** Returns the processes, or the threads, of the group itself. */
export function membersIn(group: ControlGroup, members: Members): number[] {
  try {
    // 0 is a process that this one can't see, and would mean this one in a write.
    return (readOf(group, members) ?? '').split('\n').map(Number).filter(Boolean);
  } catch (error) {
    // A threaded group of version 2: its processes are listed by the group around it.
    if (hasCode(error, 'EOPNOTSUPP', 'ENOTSUP')) return [];
    throw error;
  }
}

/** Returns the groups directly inside it. */
export function childrenOf({ path, version }: ControlGroup): ControlGroup[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => ({ path: join(path, name), version }));
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Returns the groups inside it, at any depth. */
export function groupsIn(group: ControlGroup): ControlGroup[] {
  return childrenOf(group).flatMap((child) => [child, ...groupsIn(child)]);
}

export function childOf({ path, version }: ControlGroup, name: string): ControlGroup {
  return { path: join(path, name), version };
}

export function parentOf({ path, version }: ControlGroup): ControlGroup {
  return { path: dirname(path), version };
}

export function nameOf({ path }: ControlGroup): string {
  return basename(path);
}

/** Makes the group if it is not there. Returns false if the one around it has gone. */
export function makeGroup({ path }: ControlGroup): boolean {
  try {
    mkdirSync(path);
  } catch (error) {
    if (isGone(error)) return false;
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  return true;
}

/**
 * Makes a group of version 2 one for single threads, whose other threads stay in the group around it
 * (cgroup-v2.rst, "Threads"). Idempotent. The kernel refuses it where a group beside this one has
 * processes, or where the group around it gives controllers to its groups.
 */
export function makeThreaded({ path }: ControlGroup): void {
  writeFileSync(join(path, 'cgroup.type'), 'threaded', { flag: 'r+' });
}

/** Removes the group. Returns false if it is still in use: a process that ends may count yet. */
export function removeGroup({ path }: ControlGroup): boolean {
  try {
    rmdirSync(path);
  } catch (error) {
    if (hasCode(error, 'EBUSY')) return false;
    if (!isGone(error)) throw error;
  }
  return true;
}

/** Moves a process to a group. Ignores a process that has ended. */
export function moveTo(group: ControlGroup, id: number, members: Members = 'cgroup.procs'): void {
  ignoreGone(() => {
    using door = openDoor(group, members);
    door.letIn(id);
  });
}

/** The file that moves processes into a group. Opening it takes longer than a move. */
export interface Door extends Disposable {
  /** Moves a process, with all its threads, or only one thread. Ignores those that have ended. */
  letIn(id: number): void;
}

export function openDoor({ path }: ControlGroup, members: Members = 'cgroup.procs'): Door {
  const file = openSync(join(path, members), 'r+');
  return {
    letIn: (id) => {
      if (id > 0) ignoreGone(() => writeSync(file, String(id)));
    },
    [Symbol.dispose]: () => closeSync(file),
  };
}

/** Returns undefined if the group has gone. Throws if that is not certain. */
function readOf({ path }: ControlGroup, file: string): string | undefined {
  try {
    return readFileSync(join(path, file), 'utf8');
  } catch (error) {
    if (!isGone(error)) throw error;
    if (isDirectory(path)) throw new Error(`${path} is no group that can freeze`, { cause: error });
    refuseUnreachable(path);
    return undefined;
  }
}

/** A path through a process that has ended, or a mount that has gone, says nothing of the group. */
function refuseUnreachable(path: string): void {
  let around = dirname(path);
  while (!isDirectory(around)) around = dirname(around);
  const isControlGroup = statSync(join(around, 'cgroup.procs'), { throwIfNoEntry: false });
  if (!isControlGroup) throw new Error(`the control groups at ${path} can't be reached`);
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Does nothing if the group, or the process, has gone. */
export function ignoreGone(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

function isGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENODEV', 'ESRCH');
}
