import { join, relative } from 'node:path';
import type { ControlGroup } from '../../lib/linux/control-group.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';

/** The control group of a container, as its processes' /proc/PID/cgroup names it. */
export interface ContainerGroup {
  /** The path in its hierarchy; names the container among all of the machine. */
  readonly path: string;
  /** The engine's ID. */
  readonly id: string;
  /** Undefined if the group is in a hierarchy that can't freeze: then only the engine can act. */
  readonly hierarchy: Hierarchy | undefined;
}

/** The kind of a hierarchy that freezes its groups: the freezer of version 1, or version 2. */
export type Hierarchy = 1 | 2;

/**
 * Returns the container that a process belongs to, from the text of its /proc/PID/cgroup. Its group
 * is the one named by the last component of the path that is an engine's ID: what stands before is
 * a place that people choose (`--cgroup-parent`), what follows are groups that the container has
 * made. So the group found holds all of the container, and one freeze stops it. Where a container
 * has made a group that is itself named by 64 hexadecimal digits, that group counts as a container
 * of its own; the others of the container are found by themselves or by their common PID namespace.
 */
export function containerGroupIn(text: string): ContainerGroup | undefined {
  const found = text
    .split('\n')
    .map(parseLine)
    .flatMap(({ hierarchy, path }) => {
      const group = containerIn(path);
      return group ? [{ ...group, hierarchy }] : [];
    });
  const in1 = found.find(({ hierarchy }) => hierarchy === 1);
  const in2 = found.find(({ hierarchy }) => hierarchy === 2);
  return in1 ?? in2 ?? found[0];
}

function parseLine(line: string): { hierarchy: Hierarchy | undefined; path: string } {
  const [number, controllers = '', ...path] = line.split(':');
  const isFreezer = controllers.split(',').includes('freezer');
  const hierarchy = isFreezer ? 1 : number === '0' ? 2 : undefined;
  return { hierarchy, path: path.join(':') };
}

/** Returns the container that a group belongs to: the group itself or one above it. */
export function containerIn(path: string): { path: string; id: string } | undefined {
  const names = path.split('/');
  for (let length = names.length; length > 0; length -= 1) {
    const id = engineIdIn(names[length - 1] ?? '');
    if (id !== undefined) return { path: names.slice(0, length).join('/'), id };
  }
  return undefined;
}

/**
 * Engines name a group `ID`, under systemd `docker-ID.scope` or `libpod-ID.scope`, and where their
 * driver does not fit to their runtime `system.slice:docker:ID`.
 */
function engineIdIn(name: string): string | undefined {
  return /(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$/.exec(name)?.[1];
}

/** Returns where this group is reached; undefined if none of these mounts shows its hierarchy. */
export function reach(
  { path, hierarchy }: Pick<ContainerGroup, 'path' | 'hierarchy'>,
  mounts: readonly Mount[],
): ControlGroup | undefined {
  if (hierarchy === undefined) return undefined;
  const mount = mounts.find((each) => hierarchyOf(each) === hierarchy);
  return mount && { path: join(mount.mountpoint, relative(mount.root, path)), version: hierarchy };
}

/** Returns which freezing hierarchy a mount shows, if it shows one. */
export function hierarchyOf({ fsType, superOptions }: Mount): Hierarchy | undefined {
  if (fsType === 'cgroup2') return 2;
  return fsType === 'cgroup' && superOptions.includes('freezer') ? 1 : undefined;
}
