import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import { readShortFile } from '../../lib/linux/proc.ts';
import { containerIn, hierarchyOf } from './container-group.ts';

/** Some processes of each container: the first may have left its container's namespaces. */
const mostOfEach = 3;

/**
 * Returns the first processes of each container that these mounts of control groups show. A container
 * has its volumes in the mounts of its first process, so that thousands of processes beside it need
 * not be read before it is found. A container that is not found so is found by a whole scan.
 */
export function* firstProcesses(groupMounts: readonly Mount[]): Generator<number> {
  const seen = new Set<number>();
  for (const mount of groupMounts) {
    const version = hierarchyOf(mount);
    // A hierarchy may be mounted several times.
    if (version === undefined || seen.has(version)) continue;
    seen.add(version);
    yield* firstBelow(mount.mountpoint, mount);
  }
}

function* firstBelow(directory: string, mount: Mount): Generator<number> {
  const path = join(mount.root, relative(mount.mountpoint, directory));
  const pids = containerIn(path) === undefined ? [] : firstOf(directory);
  yield* pids;
  const entries = ifThere(() => readdirSync(directory, { withFileTypes: true })) ?? [];
  for (const entry of entries) {
    if (entry.isDirectory()) yield* firstBelow(join(directory, entry.name), mount);
  }
}

function firstOf(directory: string): number[] {
  const text = ifThere(() => readShortFile(join(directory, 'cgroup.procs'))) ?? '';
  return text.split('\n').slice(0, mostOfEach).map(Number).filter(Boolean);
}

/** Returns undefined when a group has gone, or is one whose threads are spread over several groups. */
function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'ENOTSUP')) return undefined;
    throw error;
  }
}
