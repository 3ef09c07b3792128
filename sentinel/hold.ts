import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlGroup } from '../lib/linux/control-group.ts';
import {
  groupsIn,
  isFrozenItself,
  moveTo,
  ownProcesses,
  setFrozen,
} from '../lib/linux/control-group.ts';
import { hasCode } from '../lib/linux/error-code.ts';

/**
 * Holding a container: keeping its processes frozen whatever its engine does. What an engine has
 * paused it also lets run again, for `docker unpause`, and to deliver the signals of `docker stop`
 * and `docker restart`. So the processes are put into a frozen group within the container's own,
 * which engines don't know; what they thaw is then empty.
 */

const heldName = 'berth-held';
const holdLimitMs = 500;

/** Whether none of its processes can run, nor be let run by an engine. True when there is none. */
export async function isHeld(group: ControlGroup): Promise<boolean> {
  if ((await ownProcesses(group)).length > 0) return false;
  for (const inner of await groupsIn(group)) {
    if ((await ownProcesses(inner)).length > 0 && !(await isFrozenItself(inner))) return false;
  }
  return true;
}

/** Idempotent. Rejects when some may still run. */
export async function hold(group: ControlGroup): Promise<void> {
  const held = heldIn(group);
  await makeIn(held);
  const end = performance.now() + holdLimitMs;
  while (!(await isHeld(group))) {
    if (performance.now() > end) throw new Error(`the processes of ${group.path} do not freeze`);
    // Each time: they make others until they are frozen.
    for (const pid of await ownProcesses(group)) await moveTo(held, pid);
    // Groups that the container has made itself stay; each is frozen where it is.
    for (const inner of await groupsIn(group)) await setFrozen(inner, true);
    await sleep(1);
  }
}

/** Puts the processes back to where their engine decides. Idempotent. */
export async function unhold(group: ControlGroup): Promise<void> {
  const held = heldIn(group);
  for (const inner of await groupsIn(group)) {
    if (inner.path !== held.path) await setFrozen(inner, false);
  }
  const end = performance.now() + holdLimitMs;
  for (;;) {
    const pids = await ownProcesses(held);
    if (pids.length === 0) break;
    if (performance.now() > end) throw new Error(`the processes of ${held.path} do not leave it`);
    for (const pid of pids) await moveTo(group, pid);
  }
  await rmdir(held.path).catch((error) => {
    // One that has just left may still be on its way; an empty group does no harm.
    if (!hasCode(error, 'ENOENT', 'EBUSY')) throw error;
  });
}

function heldIn({ path, version }: ControlGroup): ControlGroup {
  return { path: join(path, heldName), version };
}

/** Frozen before anything is in it. */
async function makeIn(held: ControlGroup): Promise<void> {
  try {
    await mkdir(held.path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return; // The container has just ended, and its group with it.
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  await setFrozen(held, true);
}
