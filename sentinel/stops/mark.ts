import { chmodSync, statSync } from 'node:fs';
import type { ControlGroup } from '../../lib/linux/control-group.ts';
import { freezeFileOf, ignoreGone } from '../../lib/linux/control-group.ts';

/*
 * A mark says that the freeze of a group is ours: one that somebody else requested is not ours to
 * undo. It is the sticky bit of the file that freezes the group, because that has no other meaning,
 * costs one call, ends with the group, and is there after a crash.
 */
const sticky = 0o1000;

export function isMarked(group: ControlGroup): boolean {
  const stat = statSync(freezeFileOf(group), { throwIfNoEntry: false });
  return stat !== undefined && (stat.mode & sticky) !== 0;
}

export function setMarked(group: ControlGroup, marked: boolean): void {
  const path = freezeFileOf(group);
  ignoreGone(() => {
    const { mode } = statSync(path);
    chmodSync(path, marked ? mode | sticky : mode & ~sticky);
  });
}
