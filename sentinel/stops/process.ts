import type { ControlGroup, Members } from '../../lib/linux/control-group.ts';
import {
  childrenOf,
  controlGroupIn,
  freezeOf,
  makeGroup,
  makeThreaded,
  membersIn,
  moveTo,
  removeGroup,
  setFrozen,
} from '../../lib/linux/control-group.ts';
import { isProcessBeingKilled, killProcess } from '../../lib/linux/control-group-kill.ts';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import type { ProcessId } from '../../lib/linux/proc.ts';
import { processFileSync, processStatSync } from '../../lib/linux/proc.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import type { ProcessRef, Standing } from '../ports.ts';
import { heldProcessIn, heldProcessOf, homeOf } from './held-groups.ts';
import { continueProcess, standingBySignal, stopBySignal } from './process-signals.ts';
import { freezing } from './standing.ts';
import { UnstoppableError } from './unstoppable.ts';

/*
 * A process or thread of the host has no group that could be frozen: others share its group. It is
 * moved to a frozen group of its own inside that, named after it.
 *
 * |         | control groups v1       | control groups v2                 | no group reachable |
 * |---------|-------------------------|-----------------------------------|--------------------|
 * | process | moved, with its threads | moved, with its threads           | SIGSTOP            |
 * | thread  | moved alone (`tasks`)   | moved alone to a threaded group;  | refused            |
 * |         |                         | refused where none can be there   |                    |
 *
 * SIGSTOP is second best: whoever may send signals to the process can end it. In version 1 a process
 * of which a thread is held can't end: a SIGKILL from somebody else releases the thread, so that it
 * can.
 */

/** Freezes the process and holds it in one step: no engine knows its group. */
export function holdProcess(process: ProcessRef, mounts: readonly Mount[]): void {
  const group = groupOf(process, mounts);
  if (hasEnded(process)) return;
  if (process.tid !== undefined && !group) throw noGroupForThread(process);
  try {
    if (group) moveToHeld(process, homeOf(group));
    else stopBySignal(process);
  } catch (error) {
    if (process.tid !== undefined) throw noGroupForThread(process, error);
    if (!hasCode(error, ...noGroupHere)) throw error;
    stopBySignal(process);
  }
}

/** Undoes `holdProcess`. With `wasStopped` a process that was sent SIGSTOP stays stopped. */
export function releaseProcess(
  process: ProcessRef,
  mounts: readonly Mount[],
  wasStopped: boolean,
): void {
  const group = groupOf(process, mounts);
  if (hasEnded(process)) return;
  if (group && isItsOwn(group, process)) {
    emptyHeld(group, membersOf(process, group));
  } else if (process.tid === undefined && !wasStopped) {
    continueProcess(process);
  }
}

export async function standingOfProcess(
  process: ProcessRef,
  mounts: readonly Mount[],
): Promise<Standing> {
  const group = groupOf(process, mounts);
  if (hasEnded(process)) return { is: 'ended' };
  if (!group || !isItsOwn(group, process)) return standingBySignal(process);
  const freeze = freezeOf(group)?.is;
  if (freeze === 'frozen') return { is: 'held' };
  return freeze === 'freezing' ? freezing([process.pid]) : { is: 'running' };
}

/**
 * Kills a process, frozen or not. A thread can't be killed without its process: rejected, unless
 * somebody is killing that.
 */
export function killHeldProcess(process: ProcessRef, mounts: readonly Mount[]): void {
  if (hasEnded(process)) return;
  if (process.tid !== undefined && !isHeldProcessBeingKilled(process)) {
    throw new UnstoppableError(
      `${threadName(process)} can't be killed without its process; it ends when that restarts`,
    );
  }
  if (process.tid === undefined) killProcess(process.pid);
  releaseProcess(process, mounts, false);
}

export function isHeldProcessBeingKilled(process: ProcessRef): boolean {
  return !hasEnded(process) && isProcessBeingKilled(pathOf(process));
}

/** Codes of a group that can't be made, or in which no process can be. */
const noGroupHere = ['EOPNOTSUPP', 'ENOTSUP', 'EBUSY', 'EAGAIN', 'ENOSPC', 'EROFS', 'EACCES'];

function moveToHeld(process: ProcessRef, home: ControlGroup): void {
  const held = heldProcessIn(home, process);
  removeOthers(home);
  if (!makeGroup(held)) return;
  try {
    if (held.version === 2 && process.tid !== undefined) makeThreaded(held);
    setFrozen(held, true);
    moveTo(held, idOf(process), membersOf(process, held));
  } catch (error) {
    removeGroup(held);
    throw error;
  }
}

/**
 * Moves all members of a group that holds a process to where it came from, and removes it: the
 * process may have been forking while it was moved, and its child is then there, too.
 */
function emptyHeld(held: ControlGroup, members: Members): void {
  for (const id of membersIn(held, members)) moveTo(homeOf(held), id, members);
  removeGroup(held);
}

/** Removes the groups of processes that have ended. */
function removeOthers(home: ControlGroup): void {
  for (const held of childrenOf(home)) {
    const [pid, tid] = heldProcessOf(held);
    if (pid === undefined) continue;
    const members = membersOf({ tid }, held);
    if (!membersIn(held, members).includes(tid ?? pid)) emptyHeld(held, members);
  }
}

function isItsOwn(group: ControlGroup, process: ProcessRef): boolean {
  return group.path === heldProcessIn(homeOf(group), process).path;
}

function groupOf(process: ProcessRef, mounts: readonly Mount[]): ControlGroup | undefined {
  const text = processFileSync(pathOf(process), 'cgroup');
  return text === undefined ? undefined : controlGroupIn(text, mounts);
}

/** A process ends at any time; a later one with its ID is another. */
function hasEnded(process: ProcessRef): boolean {
  const stat = processStatSync(pathOf(process));
  return stat === undefined || stat.started !== process.started || 'ZX'.includes(stat.state);
}

function pathOf({ pid, tid }: ProcessRef): ProcessId {
  return tid === undefined ? pid : `${pid}/task/${tid}`;
}

function idOf({ pid, tid }: ProcessRef): number {
  return tid ?? pid;
}

function membersOf({ tid }: Pick<ProcessRef, 'tid'>, { version }: ControlGroup): Members {
  if (tid === undefined) return 'cgroup.procs';
  return version === 1 ? 'tasks' : 'cgroup.threads';
}

function noGroupForThread(process: ProcessRef, cause?: unknown): UnstoppableError {
  const why =
    cause === undefined
      ? "its control group can't be reached"
      : `the kernel refused: ${messageOf(cause)}`;
  return new UnstoppableError(
    `${threadName(process)} can't be stopped without its process: ${why}`,
    { cause },
  );
}

function threadName({ name, pid, tid }: ProcessRef): string {
  return `thread ${tid} of ${name} (pid ${pid})`;
}
