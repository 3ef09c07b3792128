import { readdir, readlink, stat } from 'node:fs/promises';
import { hasCode } from './error-code.ts';
import { ifSeen, namespaceOf, processFile, processIds } from './proc.ts';

/**
 * Returns the IDs of the processes that listen on the Unix socket at this path, as the kernel knows
 * them: whatever program they run, and also while they are stopped. The result includes a process
 * whose socket file was removed or replaced. A process in another mount namespace counts only if it
 * sees the same file at the path.
 */
export async function listenersOn(path: string): Promise<number[]> {
  const here = { file: await fileAt(path), mounts: await namespaceOf('self', 'mnt') };
  const socketsOf = new Map<string, ReadonlySet<string>>();
  const listeners: number[] = [];
  for (const pid of await processIds()) {
    const network = await namespaceOf(pid, 'net');
    if (network === undefined) continue;
    let sockets = socketsOf.get(network);
    if (sockets === undefined) {
      sockets = listeningSockets((await processFile(pid, 'net/unix')) ?? '', path);
      socketsOf.set(network, sockets);
    }
    if (sockets.size === 0) continue;
    const isHere = (await namespaceOf(pid, 'mnt')) === here.mounts;
    const file = isHere ? undefined : await fileAt(`/proc/${pid}/root${path}`);
    if (!isHere && (file === undefined || file !== here.file)) continue;
    if (await hasOneOf(pid, sockets)) listeners.push(pid);
  }
  return listeners;
}

/** The kernel's flag of a socket that listens (`__SO_ACCEPTCON`). */
const listening = 0x10000;

/** Reads the text of /proc/net/unix: returns the inodes of the sockets that listen on this path. */
export function listeningSockets(text: string, path: string): Set<string> {
  const inodes = text.split('\n').flatMap((line) => {
    // Num RefCount Protocol Flags Type St Inode Path; the path may contain blanks.
    const match = /^\S+: \S+ \S+ (\S+) \S+ \S+ +(\d+) (.*)$/.exec(line);
    if (match === null) return [];
    const [, flags = '', inode = '', name] = match;
    return name === path && Number.parseInt(flags, 16) & listening ? [inode] : [];
  });
  return new Set(inodes);
}

async function hasOneOf(pid: number, sockets: ReadonlySet<string>): Promise<boolean> {
  const directory = `/proc/${pid}/fd`;
  for (const descriptor of (await ifSeen(readdir(directory))) ?? []) {
    const inode = socketIn(await targetOf(`${directory}/${descriptor}`));
    if (inode !== undefined && sockets.has(inode)) return true;
  }
  return false;
}

/** Returns undefined also for a file whose path is too long to be read: it is no socket. */
async function targetOf(link: string): Promise<string | undefined> {
  try {
    return await ifSeen(readlink(link));
  } catch (error) {
    if (hasCode(error, 'ENAMETOOLONG')) return undefined;
    throw error;
  }
}

function socketIn(target: string | undefined): string | undefined {
  return /^socket:\[(\d+)\]$/.exec(target ?? '')?.[1];
}

/** Undefined: there is no such file, or it may not be looked at. */
async function fileAt(path: string): Promise<string | undefined> {
  const found = await ifSeen(stat(path));
  return found && `${found.dev}:${found.ino}`;
}
