import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { ControlGroup } from '../../lib/linux/control-group.ts';
import { freezeOf, parentOf, processesOf } from '../../lib/linux/control-group.ts';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import { heldProcessOf, isHeldGroup } from '../stops/held-groups.ts';
import { isMarked } from '../stops/mark.ts';
import { containerIn, hierarchyOf } from './container-group.ts';
import type { ThisHost } from './this-host.ts';

export interface HeldGroup {
  readonly key: string;
  /** The engine's ID, if the group above is a container's. */
  readonly id: string | undefined;
  /** The group from which the processes were taken. */
  readonly group: ControlGroup;
  /** Set if the group holds one process or thread that is in no container. */
  readonly process?: { readonly pid: number; readonly tid?: number | undefined } | undefined;
  /** The processes that are held, or, of a container that a sentinel has just released, run. */
  readonly pids: readonly number[];
}

/**
 * Finds the groups in which something is held, on both versions, and those of containers that a
 * sentinel has frozen and not yet emptied, or has released and whose engine may not know it.
 */
export function* heldGroups(host: ThisHost): Generator<HeldGroup> {
  const seen = new Set<number>();
  for (const mount of host.groupMounts) {
    const version = hierarchyOf(mount);
    // A hierarchy may be mounted several times.
    if (version === undefined || seen.has(version)) continue;
    seen.add(version);
    for (const held of heldIn({ path: mount.mountpoint, version })) {
      const group = isHeldGroup(held) ? parentOf(held) : held;
      const pids = processesFor(held, group);
      if (pids.length === 0) continue;
      const above = pathInHierarchy(group.path, mount);
      const container = containerIn(above);
      // A group that the container has made is frozen where it is, and part of the container.
      if (group === held && container?.path !== above) continue;
      yield {
        key: group.path,
        id: container?.id,
        group,
        process: processIn(held),
        pids,
      };
    }
  }
}

function processIn(held: ControlGroup): HeldGroup['process'] {
  const [pid, tid] = heldProcessOf(held);
  return pid === undefined ? undefined : { pid, tid };
}

function* heldIn({ path, version }: ControlGroup): Generator<ControlGroup> {
  for (const entry of ifThere(() => readdirSync(path, { withFileTypes: true })) ?? []) {
    if (!entry.isDirectory()) continue;
    const inner: ControlGroup = { path: join(path, entry.name), version };
    if (isHeldGroup(inner) || isFrozenByUs(inner)) yield inner;
    if (!isHeldGroup(inner)) yield* heldIn(inner);
  }
}

function isFrozenByUs(group: ControlGroup): boolean {
  return isMarked(group) && freezeOf(group)?.isRequested === true;
}

/** Returns the processes of a group that we made inside another one, or of that one. */
function processesFor(held: ControlGroup, group: ControlGroup): readonly number[] {
  const pids = heldPids(held);
  // An empty group is what the release of a container leaves.
  return pids.length > 0 || processIn(held) ? pids : processesOf(group);
}

function heldPids(held: ControlGroup): number[] {
  try {
    return idsIn(held, 'cgroup.procs');
  } catch (error) {
    // A group of version 2 that holds a thread can't say whose it is: its name does.
    if (!hasCode(error, 'EOPNOTSUPP', 'ENOTSUP')) throw error;
    const [pid] = heldProcessOf(held);
    return pid === undefined || idsIn(held, 'cgroup.threads').length === 0 ? [] : [pid];
  }
}

function idsIn({ path }: ControlGroup, file: string): number[] {
  const text = ifThere(() => readFileSync(join(path, file), 'latin1')) ?? '';
  return text.split('\n').filter(Boolean).map(Number);
}

/** Returns the path by which /proc/PID/cgroup names a group. */
function pathInHierarchy(path: string, { mountpoint, root }: Mount): string {
  return join(root, relative(mountpoint, path));
}

/** Returns undefined if the group has gone meanwhile. */
function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return undefined;
    throw error;
  }
}
