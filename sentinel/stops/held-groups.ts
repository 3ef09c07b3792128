import type { ControlGroup } from '../../lib/linux/control-group.ts';
import { childOf, nameOf, parentOf } from '../../lib/linux/control-group.ts';
import type { ProcessRef } from '../ports.ts';

/*
 * The names of the frozen groups that hold users. They are all that a successor needs to release
 * them: each group lies inside the one that its processes came from.
 */

const heldName = 'berth-held';

/** Returns the group that holds a container's processes, inside the container's own. */
export function heldIn(group: ControlGroup): ControlGroup {
  return childOf(group, heldName);
}

/** Returns the group that holds one process or thread, inside the one that it came from. */
export function heldProcessIn(home: ControlGroup, { pid, tid }: ProcessRef): ControlGroup {
  return childOf(home, `${heldName}-${pid}${tid === undefined ? '' : `-${tid}`}`);
}

/** Returns true for a group that holds a container, a process or a thread. */
export function isHeldGroup(group: ControlGroup): boolean {
  return /^berth-held(-\d+){0,2}$/.test(nameOf(group));
}

/** Returns the IDs of the process and the thread that a group holds; none if it is another group. */
export function heldProcessOf(group: ControlGroup): number[] {
  return isHeldGroup(group) ? (nameOf(group).match(/\d+/g) ?? []).map(Number) : [];
}

/** Returns the group from which the processes of a group were taken, or the group itself. */
export function homeOf(group: ControlGroup): ControlGroup {
  return isHeldGroup(group) ? homeOf(parentOf(group)) : group;
}
