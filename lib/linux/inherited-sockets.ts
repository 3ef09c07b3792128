import { readFile, readlink } from 'node:fs/promises';
import { hasCode } from './error-code.ts';

/** A listening socket that this process was started with; systemd owns its file. */
export interface InheritedSocket {
  readonly fd: number;
  readonly path: string;
}

/** This process was started with a socket that it does not serve. */
export class InheritedSocketError extends Error {
  override readonly name = 'InheritedSocketError';
}

/** Holds `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`; see systemd's sd_listen_fds(3). */
type Environment = Record<string, string | undefined>;

const firstFd = 3;

/**
 * Returns the sockets that systemd has passed on (socket activation), by their purpose: its name
 * (`FileDescriptorName=docker`), else its path, decides. Leaves out sockets that were not passed.
 * Removes the variables, so that no child process uses the sockets. Rejects InheritedSocketError
 * for a socket with no known purpose.
 */
export async function takeInheritedSockets<Purpose extends string>(
  paths: Readonly<Record<Purpose, string>>,
  environment: Environment,
): Promise<ReadonlyMap<Purpose, InheritedSocket>> {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names = '' } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  const found = new Map<Purpose, InheritedSocket>();
  // The sockets are for an ancestor of this process.
  if (Number(pid) !== process.pid) return found;

  const purposes = Object.keys(paths) as Purpose[];
  for (let fd = firstFd; fd < firstFd + Number(count ?? 0); fd++) {
    const name = names.split(':')[fd - firstFd] ?? '';
    const path = await listeningPath(fd);
    const purpose =
      purposes.find((one) => one === name) ?? purposes.find((one) => paths[one] === path);
    if (path === undefined || purpose === undefined || found.has(purpose)) {
      const known = purposes.map((one) => `${paths[one]} (${one})`).join(' and ');
      const what = path === undefined ? 'is no listening Unix socket' : `listens on ${path}`;
      throw new InheritedSocketError(
        `started with a socket to serve that is not one of berth's: descriptor ${fd} ` +
          `("${name}") ${what}; berth serves ${known}, each once: ` +
          'make the paths in the .socket unit and in the settings the same',
      );
    }
    found.set(purpose, { fd, path });
  }
  return found;
}

/** Returns the path on which a descriptor listens; undefined if it is no listening Unix socket. */
async function listeningPath(fd: number): Promise<string | undefined> {
  const [, inode] = /^socket:\[(\d+)\]$/.exec(await linkOf(fd)) ?? [];
  if (inode === undefined) return undefined;
  // Node has no getsockname for a descriptor. The columns are address, references, protocol, flags, type,
  // state, inode, path; the flag is the kernel's SO_ACCEPTCON.
  for (const line of (await readFile('/proc/self/net/unix', 'utf8')).split('\n')) {
    const [, , , flags, , , itsInode, ...path] = line.trim().split(/ +/);
    if (itsInode === inode && flags === '00010000') return path.join(' ');
  }
  return undefined;
}

async function linkOf(fd: number): Promise<string> {
  try {
    return await readlink(`/proc/self/fd/${fd}`);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}
