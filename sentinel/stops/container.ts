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
 * | release                    | thawed           | inside it, and run       |
 * | forget: some moves         | thawed           | some inside it, some in  |
 * | `forgetContainer`          | thawed           | in it                    |
 *
 * A release thaws and moves nobody: each move waits for all processors, for some milliseconds or more,
 * so hundreds of containers would go on one after another. Until `forgetContainer` the group
 * inside tells a successor that the engine may still show our pause. A freeze of the outer group reaches
 * what is inside it.
 */

/** In each round all that are there are moved: only an engine that starts more needs another. */
const mostRounds = 10;

/**
 * Requests the freeze of the group, and marks it as ours if nobody else had requested it. Returns `found`
 * if somebody else had.
 */
export function freezeContainer(group: ControlGroup): 'frozen' | 'found' {
  const freeze = freezeOf(group);
  if (freeze === undefined) return 'frozen'; // The container has just ended.
  // The mark comes first: after a crash an unmarked freeze counts as the engine's.
  if (!freeze.isRequested) setMarked(group, true);
  if (!freeze.isRequested || freeze.is !== 'frozen') setFrozen(group, true);
  return isMarked(group) ? 'frozen' : 'found';
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

/** Returns `found` if somebody else had frozen the group: a person's pause has no mark. */
export async function holdContainer(group: ControlGroup): Promise<'held' | 'found'> {
  const isFound = freezeOf(group)?.isRequested === true && !isMarked(group);
  if (!isOutOfReach(group)) {
    freezeContainer(group);
    const held = heldIn(group);
    if (!makeGroup(held)) return 'held'; // The container has just ended.
    setFrozen(held, true);
    await moveAll(group, held);
    for (const inner of childrenOf(group)) {
      if (!isHeldGroup(inner)) freezeContainer(inner);
    }
  }
  // The engine refuses to pause a group that is frozen already.
  if (isOutOfReach(group)) thawIfMarked(group);
  return isFound ? 'found' : 'held';
}

/**
 * With `keepsPause` a freeze without a mark stays: it is a person's. Else the container runs when this
 * returns, without a pause in between, because the caller has just seen that it may; its processes stay
 * in the group that held them until `forgetContainer`.
 */
export async function releaseContainer(group: ControlGroup, keepsPause: boolean): Promise<void> {
  for (const inner of childrenOf(group)) {
    if (!isHeldGroup(inner)) thawIfMarked(inner);
  }
  const held = heldIn(group);
  if (keepsPause) {
    await moveAll(held, group);
    removeGroup(held);
    return thawIfMarked(group);
  }
  setFrozen(held, false);
  setFrozen(group, false);
  setMarked(group, false);
}

/**
 * Moves the processes of a released container back to its own group, and removes the one that held
 * them. Resolves to false if that is not complete: it forks too fast, or is held again, of which nothing
 * is undone.
 */
export async function forgetContainer(group: ControlGroup): Promise<boolean> {
  const held = heldIn(group);
  await moveAll(held, group, () => freezeOf(held)?.isRequested === false);
  // Of a sentinel that was killed while its engine resumed the container. A pause after this is a person's.
  if (freezeOf(group)?.isRequested === false) setMarked(group, false);
  return removeGroup(held);
}

/**
 * Moves the processes of one group, not of those inside it, to another. Stops when `mayMove`, which is asked
 * before each move, returns false.
 */
async function moveAll(
  from: ControlGroup,
  to: ControlGroup,
  mayMove: () => boolean = () => true,
): Promise<void> {
  for (let round = 0; round < mostRounds; round += 1) {
    const pids = ownProcesses(from);
    if (pids.length === 0) return;
    try {
      using door = openDoor(to);
      for await (const pid of inSlices(pids)) {
        if (!mayMove()) return;
        door.letIn(pid);
      }
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
