import type { ControlGroup } from '../../lib/linux/control-group.ts';
import {
  childrenOf,
  freezeOf,
  isPopulated,
  makeGroup,
  openDoor,
  ownProcesses,
  removeGroup,
  setFrozen,
} from '../../lib/linux/control-group.ts';
import { hasCode } from '../../lib/linux/error-code.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { heldIn, isHeldGroup } from './held-groups.ts';
import { isMarked, setMarked } from './mark.ts';
import { inSlices } from './slices.ts';
import { UnstoppableError } from './unstoppable.ts';

/*
 * A container's control group, the outer group here, is frozen as a whole and then held: its
 * processes move to a frozen group inside it that no engine knows, so that what an engine thaws
 * (`docker unpause`, and `docker stop` to deliver a signal) has no process. Groups that the
 * container has made inside its own are frozen where they are.
 *
 * A crash may come between any two calls. What is true after each:
 *
 * | after                      | outer group      | its processes            |
 * |----------------------------|------------------|--------------------------|
 * | `freezeContainer`          | marked, frozen   | in it                    |
 * | some moves                 | marked, frozen   | some held, some in it    |
 * | the inner groups' freeze   | marked, frozen   | held                     |
 * | the thaw and the unmark    | thawed           | held                     |
 * | release: some moves        | thawed or paused | some held, some in it    |
 * | release                    | thawed           | in it, none held         |
 * | `forgetContainer`          | thawed           | in it                    |
 *
 * The empty group inside tells a successor that the engine may still show our pause.
 */

/** In each round all that are there are moved: only an engine that starts more needs another. */
const mostRounds = 10;

/** Requests the freeze of the group, and marks it as ours if nobody else had requested it. */
export function freezeContainer(group: ControlGroup): void {
  const freeze = freezeOf(group);
  if (freeze === undefined || (freeze.isRequested && freeze.is === 'frozen')) return;
  // The mark comes first: after a crash an unmarked freeze counts as the engine's.
  if (!freeze.isRequested) setMarked(group, true);
  setFrozen(group, true);
}

/** Undoes `freezeContainer`, but not a freeze that somebody else requested. */
function thawIfMarked(group: ControlGroup): void {
  if (!isMarked(group)) return;
  // The mark goes last: after a crash an unmarked freeze counts as the engine's.
  setFrozen(group, false);
  setMarked(group, false);
}

/** Returns true if nothing that an engine does to the group lets one of its processes run. */
export function isOutOfReach(group: ControlGroup): boolean {
  if (ownProcesses(group).length > 0) return false;
  return childrenOf(group).every(
    (inner) => freezeOf(inner)?.isRequested !== false || !isPopulated(inner),
  );
}

export async function holdContainer(group: ControlGroup): Promise<void> {
  if (!isOutOfReach(group)) {
    freezeContainer(group);
    const held = heldIn(group);
    if (!makeGroup(held)) return; // The container has just ended.
    setFrozen(held, true);
    await moveAll(group, held);
    for (const inner of childrenOf(group)) {
      if (!isHeldGroup(inner)) freezeContainer(inner);
    }
  }
  // The engine refuses to pause a group that is frozen already. A person's pause has no mark.
  if (isOutOfReach(group)) thawIfMarked(group);
}

/**
 * With `wasPaused` a freeze without a mark stays: it is a person's. Else the group that held the
 * container stays, empty, until `forgetContainer`.
 */
export async function releaseContainer(group: ControlGroup, wasPaused: boolean): Promise<void> {
  const held = heldIn(group);
  for (const inner of childrenOf(group)) {
    if (!isHeldGroup(inner)) thawIfMarked(inner);
  }
  // Without a pause where nothing is held: the caller has just seen that it may run.
  if (ownProcesses(held).length > 0) await moveAll(held, group);
  if (wasPaused) {
    removeGroup(held);
    return thawIfMarked(group);
  }
  setFrozen(group, false);
  setMarked(group, false);
}

/** Removes the group that has held a container. Does nothing while it holds a process. */
export function forgetContainer(group: ControlGroup): void {
  removeGroup(heldIn(group));
}

/** Moves the processes of one group, not of those inside it, to another. */
async function moveAll(from: ControlGroup, to: ControlGroup): Promise<void> {
  for (let round = 0; round < mostRounds; round += 1) {
    const pids = ownProcesses(from);
    if (pids.length === 0) return;
    try {
      using door = openDoor(to);
      for await (const pid of inSlices(pids)) door.letIn(pid);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return; // The container has just ended.
      throw new UnstoppableError(
        `the processes in ${from.path} can't be moved to ${to.path} (${messageOf(error)}): they ` +
          'stay as they are',
        { cause: error },
      );
    }
  }
}
