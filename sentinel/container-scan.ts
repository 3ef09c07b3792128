import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { ControlGroup } from '../lib/linux/control-group.ts';
import { controlGroupIn } from '../lib/linux/control-group.ts';
import type { Mount } from '../lib/linux/mountinfo.ts';
import { mountsAt, parseMountInfo, readMounts } from '../lib/linux/mountinfo.ts';
import {
  namespaceOfSync,
  processFileSync,
  processIdsSync,
  processStatSync,
} from '../lib/linux/proc.ts';

/** A container with live processes. */
export interface Container {
  /** The engine's ID of the container. */
  readonly id: string;
  /** The volumes asked for that the container has mounted. */
  readonly volumes: readonly string[];
  /** Undefined where the group can't be reached: then only the engine can act on the container. */
  readonly group?: ControlGroup | undefined;
}

/** Identifies a volume's content in any mount table. */
export type VolumeIdentity = Pick<Mount, 'device' | 'root'>;

export interface MountedVolume {
  readonly volume: string;
  /** The mountpoint on this host. */
  readonly mountpoint: string;
  /** The last known mount at the mountpoint. */
  readonly identity?: VolumeIdentity | undefined;
}

/** Returns what is mounted at a path of this host; undefined if nothing is. */
export async function identityAt(mountpoint: string): Promise<VolumeIdentity | undefined> {
  return identityIn(await readMounts(), mountpoint);
}

function identityIn(own: readonly Mount[], mountpoint: string): VolumeIdentity | undefined {
  const mount = mountsAt(own, mountpoint).at(-1);
  return mount && { device: mount.device, root: mount.root };
}

/**
 * Finds the containers of this host that have one of the volumes mounted. It asks the kernel,
 * because an engine may hang, or be dead while its containers live on. A container is a control
 * group that is named after a container ID; its processes' mount tables show the volume.
 *
 * The scan reads thousands of files without giving up the processor in between: it runs when time
 * is short, on machines that may be busy.
 */
export async function containersUsing(volumes: readonly MountedVolume[]): Promise<Container[]> {
  const own = await readMounts();
  const wanted = volumes.flatMap(({ volume, mountpoint, identity }) => {
    // An engine that restarts removes a managed plugin's mounts, but not those of containers.
    const mount = identityIn(own, mountpoint) ?? identity;
    return mount ? [{ volume, mountpoint, mount }] : [];
  });
  if (wanted.length === 0) return [];
  const starter = starterOfOwnContainer();
  const namespaces = hostNamespaces(starter);
  const groups = starter === undefined ? own : hostMounts(starter);
  const found = new Map<string, Container>();
  const seen = new Set<string>();
  for (const pid of processIdsSync()) {
    // Cheap first: most processes are in no container.
    const text = processFileSync(pid, 'cgroup') ?? '';
    const id = idIn(text);
    if (id === undefined || found.has(id)) continue;
    // Most processes of a container see the same mounts: one of them is enough.
    const namespace = namespaceOf(pid);
    const view = `${id} ${namespace}`;
    if (namespace === undefined || seen.has(view)) continue;
    seen.add(view);
    const mounts = mountsOf(pid, namespace, namespaces);
    const has = wanted.filter((each) => mounts.some((mount) => isThatVolume(mount, each)));
    if (has.length === 0) continue;
    const group = containerGroupOf(pid, text, groups);
    found.set(id, { id, group, volumes: has.map(({ volume }) => volume) });
  }
  return [...found.values()];
}

/**
 * Returns true if the mount shows the volume, or a part of it, inside a container. A container that
 * sees the whole host (a monitor, say) shows the host's own mount below another root: false.
 */
function isThatVolume(
  { device, root, mountpoint }: Mount,
  { mount, mountpoint: onHost }: { mount: VolumeIdentity; mountpoint: string },
): boolean {
  if (device !== mount.device || mountpoint.endsWith(onHost)) return false;
  return root === mount.root || root.startsWith(mount.root === '/' ? '/' : `${mount.root}/`);
}

/** Returns the container's own group: its process may be in a group that it has made below. */
function containerGroupOf(
  pid: number,
  text: string,
  mounts: readonly Mount[],
): ControlGroup | undefined {
  const group = controlGroupIn(text, mounts);
  if (!group) return undefined;
  let { path } = group;
  if (!membersOf(path).includes(String(pid))) return undefined;
  while (idIn(path) !== undefined && idIn(basename(path)) === undefined) path = dirname(path);
  return idIn(path) === undefined ? undefined : { ...group, path };
}

/** Returns the process IDs in a group; none if the group has gone or can't be read from here. */
function membersOf(path: string): string[] {
  try {
    return readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n');
  } catch {
    return [];
  }
}

function idIn(text: string): string | undefined {
  return /[0-9a-f]{64}/.exec(text)?.[0];
}

/** Returns no mounts for a process that sees this host's own, or that belongs to another host. */
function mountsOf(pid: number, namespace: string, namespaces: ReadonlySet<string>): Mount[] {
  if (namespaces.has(namespace) || !isOfThisHost(pid, namespace, namespaces)) return [];
  return parseMountInfo(processFileSync(pid, 'mountinfo') ?? '');
}

/**
 * Returns true if the container's nearest ancestor with other mounts runs in one of this host's
 * mount namespaces. (Only where tests make several hosts of one machine is there another answer.)
 */
function isOfThisHost(pid: number, namespace: string, namespaces: ReadonlySet<string>): boolean {
  let ancestor = parentOf(pid);
  while (ancestor > 0) {
    const of = namespaceOf(ancestor);
    if (of !== namespace) return of !== undefined && namespaces.has(of);
    ancestor = parentOf(ancestor);
  }
  return true; // In a PID namespace of its own this process sees only its own host.
}

/** Returns who started the container that this process runs in, as a managed plugin's does. */
function starterOfOwnContainer(): number | undefined {
  // The hosts of tests have namespaces of their own, too, but are no containers.
  if (idIn(processFileSync('self', 'cgroup') ?? '') === undefined) return undefined;
  const own = namespaceOf('self');
  let ancestor = parentOf('self');
  while (ancestor > 0 && namespaceOf(ancestor) === own) ancestor = parentOf(ancestor);
  return ancestor > 0 ? ancestor : undefined;
}

/** Returns the mount namespaces of this process and, if it is in a container, of its host. */
function hostNamespaces(starter: number | undefined): Set<string> {
  const all = [namespaceOf('self'), starter === undefined ? undefined : namespaceOf(starter)];
  return new Set(all.filter((namespace) => namespace !== undefined));
}

/** Returns the host's mounts, with paths that lead there from inside. Needs CAP_SYS_PTRACE. */
function hostMounts(starter: number): Mount[] {
  const mounts = parseMountInfo(processFileSync(starter, 'mountinfo') ?? '');
  const root = `/proc/${starter}/root`;
  return mounts.map((mount) => ({ ...mount, mountpoint: join(root, mount.mountpoint) }));
}

function namespaceOf(pid: number | 'self'): string | undefined {
  return namespaceOfSync(pid, 'mnt');
}

function parentOf(pid: number | 'self'): number {
  return processStatSync(pid)?.parent ?? 0;
}
