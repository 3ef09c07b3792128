import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import type { User } from '../ports.ts';
import { containerIn, hierarchyOf } from './container-group.ts';
import type { ThisHost } from './this-host.ts';

/** The group inside a container's own in which the sentinel holds its processes. */
const heldName = 'berth-held';

export type HeldGroup = Omit<User, 'volumes'> & {
  /** The processes that are held. */
  readonly pids: readonly number[];
};

/** Finds the containers with processes in a frozen group of the sentinel's, on both versions. */
export function* heldGroups(host: ThisHost): Generator<HeldGroup> {
  const seen = new Set<number>();
  for (const mount of host.groupMounts) {
    const version = hierarchyOf(mount);
    // A hierarchy may be mounted several times.
    if (version === undefined || seen.has(version)) continue;
    seen.add(version);
    for (const path of groupsNamed(heldName, mount.mountpoint)) {
      const pids = processesOf(path);
      if (pids.length === 0) continue;
      const above = pathInHierarchy(dirname(path), mount);
      const container = containerIn(above);
      yield {
        kind: 'container',
        key: container?.path ?? above,
        id: container?.id,
        group: { path: dirname(path), version },
        pids,
      };
    }
  }
}

function* groupsNamed(name: string, path: string): Generator<string> {
  for (const entry of ifThere(() => readdirSync(path, { withFileTypes: true })) ?? []) {
    if (!entry.isDirectory()) continue;
    const inner = join(path, entry.name);
    if (entry.name === name) yield inner;
    else yield* groupsNamed(name, inner);
  }
}

function processesOf(path: string): number[] {
  const text = ifThere(() => readFileSync(join(path, 'cgroup.procs'), 'latin1')) ?? '';
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
