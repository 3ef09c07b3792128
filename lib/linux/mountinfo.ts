import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export interface Mount {
  readonly id: number;
  /** The ID of the mount below it. */
  readonly parentId: number;
  /** `major:minor`. */
  readonly device: string;
  /** The directory of the file system that is shown; not `/` for a bind mount of a part. */
  readonly root: string;
  readonly mountpoint: string;
  readonly options: readonly string[];
  /** Zero or more, such as `shared:2` and `master:1`. */
  readonly optionalFields: readonly string[];
  readonly fsType: string;
  /** The device or a name; may be empty. */
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** Parses the text of a mountinfo file; throws on a line in another format. */
export function parseMountInfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

/** Reads the mounts of this process's mount namespace. */
export async function readMounts(): Promise<Mount[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** Reads the paths at which something is mounted. */
export async function readMountpoints(): Promise<Set<string>> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return new Set(lines.map(mountpointIn));
}

/**
 * Reads the mounts at some paths, which have no symbolic links; a path without a mount is absent.
 * Parses only the lines of these paths, because a host may have thousands of mounts.
 */
export async function readMountsAt(paths: ReadonlySet<string>): Promise<Map<string, Mount[]>> {
  const found = new Map<string, Mount[]>();
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const mountpoint = mountpointIn(line);
    if (paths.has(mountpoint)) {
      found.set(mountpoint, [...(found.get(mountpoint) ?? []), parseLine(line)]);
    }
  }
  return found;
}

/** Returns the mounts at exactly this path, lowest first; several if they are stacked. */
export function mountsAt(mounts: readonly Mount[], mountpoint: string): Mount[] {
  const here = mounts.filter((mount) => mount.mountpoint === mountpoint);
  const ids = new Set(here.map((mount) => mount.id));
  const stack: Mount[] = [];
  let next = here.find((mount) => !ids.has(mount.parentId));
  while (next !== undefined && stack.length < here.length) {
    const { id } = next;
    stack.push(next);
    next = here.find((mount) => mount.parentId === id);
  }
  return stack.length === here.length ? stack : here;
}

/**
 * Reads the mounts at a path. Follows symbolic links in it, as the kernel did. Parses only the lines
 * of that path, because a host may have thousands of mounts.
 */
export async function currentMountsAt(path: string): Promise<Mount[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const linesOf = (mountpoint: string) => lines.filter((line) => mountpointIn(line) === mountpoint);
  const asGiven = linesOf(path);
  if (asGiven.length > 0) return mountsAt(parseMountInfo(asGiven.join('\n')), path);
  const mountpoint = await canonical(path);
  return mountsAt(parseMountInfo(linesOf(mountpoint).join('\n')), mountpoint);
}

/**
 * Returns a mountpoint as these mounts name it: without symbolic links. A name that they have is not
 * looked up, because what is mounted there may be a file system that does not answer.
 */
export async function nameIn(mounts: readonly Mount[], path: string): Promise<string> {
  return mounts.some(({ mountpoint }) => mountpoint === path) ? path : await canonical(path);
}

/** Returns true if something is mounted at exactly this path; false if the path does not exist. */
export async function isMountpoint(path: string): Promise<boolean> {
  return (await currentMountsAt(path)).length > 0;
}

/** Reads the mounts below a directory, in the order in which they must be unmounted. */
export async function currentMountsBelow(path: string): Promise<Mount[]> {
  const prefix = `${await canonical(path)}/`;
  return (await readMounts())
    .filter((mount) => mount.mountpoint.startsWith(prefix))
    .sort((a, b) => b.mountpoint.length - a.mountpoint.length);
}

/** Returns a path without symbolic links, also if it does not exist. */
export async function canonical(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    // The path does not exist: nothing can be mounted on it, but its parents may be links.
    const parent = dirname(path);
    return parent === path ? path : join(await canonical(parent), basename(path));
  }
}

function mountpointIn(line: string): string {
  return unescaped(line.split(' ', 5)[4] ?? '');
}

function parseLine(line: string): Mount {
  const fields = line.split(' ');
  const separator = fields.indexOf('-', 6);
  const [id, parentId, device, root, mountpoint, options] = fields;
  const [fsType, source, superOptions] = fields.slice(separator + 1);
  if (
    separator < 0 ||
    id === undefined ||
    parentId === undefined ||
    device === undefined ||
    root === undefined ||
    mountpoint === undefined ||
    options === undefined ||
    fsType === undefined ||
    source === undefined ||
    superOptions === undefined
  ) {
    throw new Error(`not a line of mountinfo: ${JSON.stringify(line)}`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescaped(root),
    mountpoint: unescaped(mountpoint),
    options: options.split(','),
    optionalFields: fields.slice(6, separator),
    fsType,
    source: unescaped(source),
    superOptions: superOptions.split(','),
  };
}

/** The kernel writes space, tab, newline, backslash and # as three octal digits. */
function unescaped(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
