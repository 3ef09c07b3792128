import { readFile, readlink } from 'node:fs/promises';
import { hasCode } from './error-code.ts';

/** A socket that listens already: whoever started this process made it, and keeps it. */
export interface InheritedSocket {
  readonly fd: number;
  readonly path: string;
}

/** This process was started with a socket that it can't serve. */
export class InheritedSocketError extends Error {
  override readonly name = 'InheritedSocketError';
}

/** `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`, as systemd's sd_listen_fds(3) has them. */
type Environment = Record<string, string | undefined>;

const firstFd = 3;

/**
 * The sockets that systemd has made and passed on (socket activation), by what they are for: told
 * by their name (`FileDescriptorName=docker`), else by their path. Those that were not passed are
 * missing. Takes the variables away, so that no child process takes the sockets for its own.
 * Rejects InheritedSocketError for a socket that is for nothing that was asked for.
 */
export async function takeInheritedSockets<Purpose extends string>(
  paths: Readonly<Record<Purpose, string>>,
  environment: Environment,
): Promise<ReadonlyMap<Purpose, InheritedSocket>> {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names = '' } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  const found = new Map<Purpose, InheritedSocket>();
  // Meant for a process that this one only descends from.
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

/** Where a descriptor listens; undefined when it does not, or on something else. */
async function listeningPath(fd: number): Promise<string | undefined> {
  const [, inode] = /^socket:\[(\d+)\]$/.exec(await linkOf(fd)) ?? [];
  if (inode === undefined) return undefined;
  // Node has no getsockname for these. The columns: address, references, protocol, flags, type,
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
