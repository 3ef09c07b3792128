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
  /** As its engine knows it. */
  readonly id: string;
  /** Those of the volumes asked for that it has. */
  readonly volumes: readonly string[];
  /** Undefined where it can't be reached from here: then only its engine can act on it. */
  readonly group?: ControlGroup | undefined;
}

/** What tells a volume's content from all else in a mount table. */
export type VolumeIdentity = Pick<Mount, 'device' | 'root'>;

export interface MountedVolume {
  readonly volume: string;
  /** Where it is mounted on this host. */
  readonly mountpoint: string;
  /** What was mounted there when it was last looked at. */
  readonly identity?: VolumeIdentity | undefined;
}

/** What is mounted at a place of this host; undefined: nothing. */
export async function identityAt(mountpoint: string): Promise<VolumeIdentity | undefined> {
  return identityIn(await readMounts(), mountpoint);
}

function identityIn(own: readonly Mount[], mountpoint: string): VolumeIdentity | undefined {
  const mount = mountsAt(own, mountpoint).at(-1);
  return mount && { device: mount.device, root: mount.root };
}

/**
 * The containers of this host that have one of the volumes, as the kernel tells: their engine may
 * hang, or be dead while they live on. A container is a control group named after a container's id
 * in whose mount table the volume is.
 *
 * It does not wait for its turn between the thousands of files that it reads: it runs when time is
 * short, on machines that may be busy.
 */
export async function containersUsing(volumes: readonly MountedVolume[]): Promise<Container[]> {
  const own = await readMounts();
  const wanted = volumes.flatMap(({ volume, mountpoint, identity }) => {
    // An engine that restarts takes a managed plugin's mounts away, and leaves the containers theirs.
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
    // A container can have many processes, which mostly see the same mounts.
    const namespace = namespaceOf(pid);
    const sight = `${id} ${namespace}`;
    if (namespace === undefined || seen.has(sight)) continue;
    seen.add(sight);
    const mounts = mountsOf(pid, namespace, namespaces);
    const has = wanted.filter((each) => mounts.some((mount) => isThatVolume(mount, each)));
    if (has.length === 0) continue;
    const group = containerGroupOf(pid, text, groups);
    found.set(id, { id, group, volumes: has.map(({ volume }) => volume) });
  }
  return [...found.values()];
}

/**
 * The volume, or a part of it, put into a container. Not what a container with a view of the whole
 * host (a monitor, say) sees of it, which is where it is on the host below some other root.
 */
function isThatVolume(
  { device, root, mountpoint }: Mount,
  { mount, mountpoint: onHost }: { mount: VolumeIdentity; mountpoint: string },
): boolean {
  if (device !== mount.device || mountpoint.endsWith(onHost)) return false;
  return root === mount.root || root.startsWith(mount.root === '/' ? '/' : `${mount.root}/`);
}

/** The whole group of a container's process: what it has made below is cut off. */
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

/** Empty when the group has gone, or can't be read from here. */
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

/** None for a process that sees this host's own mounts, or that belongs to another host. */
function mountsOf(pid: number, namespace: string, namespaces: ReadonlySet<string>): Mount[] {
  if (namespaces.has(namespace) || !isOfThisHost(pid, namespace, namespaces)) return [];
  return parseMountInfo(processFileSync(pid, 'mountinfo') ?? '');
}

/**
 * Whoever started the container, the first ancestor that has other mounts, is at home on this host.
 * (Only where several hosts are made of namespaces of one machine is there anybody else.)
 */
function isOfThisHost(pid: number, namespace: string, namespaces: ReadonlySet<string>): boolean {
  let ancestor = parentOf(pid);
  while (ancestor > 0) {
    const of = namespaceOf(ancestor);
    if (of !== namespace) return of !== undefined && namespaces.has(of);
    ancestor = parentOf(ancestor);
  }
  return true; // In a process namespace of our own nobody else is seen.
}

/** Who started the container that this process is in, if it is in one: a managed plugin's is. */
function starterOfOwnContainer(): number | undefined {
  // Hosts of a test have namespaces of their own, too, but are no containers.
  if (idIn(processFileSync('self', 'cgroup') ?? '') === undefined) return undefined;
  const own = namespaceOf('self');
  let ancestor = parentOf('self');
  while (ancestor > 0 && namespaceOf(ancestor) === own) ancestor = parentOf(ancestor);
  return ancestor > 0 ? ancestor : undefined;
}

/** The mount namespaces of this process and, when it is in a container, of its host. */
function hostNamespaces(starter: number | undefined): Set<string> {
  const all = [namespaceOf('self'), starter === undefined ? undefined : namespaceOf(starter)];
  return new Set(all.filter((namespace) => namespace !== undefined));
}

/** The mounts of that host, by the way that leads to them from inside. Takes CAP_SYS_PTRACE. */
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
