import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlGroup } from '../lib/linux/control-group.ts';
import {
  groupsIn,
  isFrozenItself,
  moveTo,
  ownProcesses,
  setFrozen,
} from '../lib/linux/control-group.ts';
import { hasCode } from '../lib/linux/error-code.ts';
import type { Clock } from '../lib/running/clock.ts';

/*
 * To hold a container is to keep its processes frozen whatever its engine does. An engine thaws a
 * container that it has paused, for `docker unpause` and to deliver the signals of `docker stop`
 * and `docker restart`. So the processes are moved to a frozen group inside the container's own,
 * which engines do not know: the group that an engine thaws is then empty.
 */

const heldName = 'berth-held';
const holdLimitMs = 500;

/** Returns true if no process of the group can run and no engine can thaw one, or there is none. */
export async function isHeld(group: ControlGroup): Promise<boolean> {
  if ((await ownProcesses(group)).length > 0) return false;
  for (const inner of await groupsIn(group)) {
    if ((await ownProcesses(inner)).length > 0 && !(await isFrozenItself(inner))) return false;
  }
  return true;
}

/** Moves the processes of a container to its frozen group. Idempotent. Rejects when some may run. */
export async function hold(group: ControlGroup, clock: Clock): Promise<void> {
  const held = heldIn(group);
  await makeIn(held);
  const end = clock.now() + holdLimitMs;
  while (!(await isHeld(group))) {
    if (clock.now() > end) throw new Error(`the processes of ${group.path} do not freeze`);
    // In each round: processes fork until they are frozen.
    for (const pid of await ownProcesses(group)) await moveTo(held, pid);
    // Groups that the container has made itself stay where they are, and are frozen there.
    for (const inner of await groupsIn(group)) await setFrozen(inner, true);
    await clock.sleep(1);
  }
}

/** Moves the processes back to the group that their engine controls. Idempotent. */
export async function unhold(group: ControlGroup, clock: Clock): Promise<void> {
  const held = heldIn(group);
  for (const inner of await groupsIn(group)) {
    if (inner.path !== held.path) await setFrozen(inner, false);
  }
  const end = clock.now() + holdLimitMs;
  for (;;) {
    const pids = await ownProcesses(held);
    if (pids.length === 0) break;
    if (clock.now() > end) throw new Error(`the processes of ${held.path} do not leave it`);
    for (const pid of pids) await moveTo(group, pid);
  }
  await rmdir(held.path).catch((error) => {
    // A process that has just left may still count; an empty group does no harm.
    if (!hasCode(error, 'ENOENT', 'EBUSY')) throw error;
  });
}

function heldIn({ path, version }: ControlGroup): ControlGroup {
  return { path: join(path, heldName), version };
}

/** Makes the group and freezes it while it is empty. */
async function makeIn(held: ControlGroup): Promise<void> {
  try {
    await mkdir(held.path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return; // The container has just ended, and its group with it.
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  await setFrozen(held, true);
}
