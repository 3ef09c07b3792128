import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

/** By the number that statfs gives. What they say of locks differs from server to server. */
const networkFileSystems: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'CIFS',
  4266872130: 'SMB 2',
  16914839: '9P',
  12805120: 'CephFS',
  1397113167: 'AFS',
};

/** Where the parts of the store are. */
export interface LockDirectory {
  readonly state: string;
  /** Locked for each step. It is never deleted: two processes could else hold one each. */
  readonly mutex: string;
  readonly sessions: string;
}

/** Makes the directory when it is not there. Throws on a network file system. */
export function openLockDirectory(
  path: string,
  readFileSystemType: (path: string) => number = (at) => statfsSync(at).type,
): LockDirectory {
  const sessions = join(path, 'sessions');
  mkdirSync(sessions, { recursive: true, mode: 0o700 });
  const network = networkFileSystems[readFileSystemType(path)];
  if (network !== undefined) {
    throw new Error(
      `the lock directory ${path} is on ${network}, where its locks could not be trusted; it must be on a local file system`,
    );
  }
  return { state: join(path, 'state.json'), mutex: join(path, 'mutex'), sessions };
}
