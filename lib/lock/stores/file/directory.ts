import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

/** Network file systems by their statfs type. Their locks depend on the server. */
const networkFileSystems: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'CIFS',
  4266872130: 'SMB 2',
  16914839: '9P',
  12805120: 'CephFS',
  1397113167: 'AFS',
};

/** The paths of the store's files. */
export interface LockDirectory {
  readonly state: string;
  /** Locked for each writing turn. Never deleted, or two processes could lock one file each. */
  readonly mutex: string;
  readonly sessions: string;
}

/** Creates the directory if missing. Throws on a network file system. */
export function openLockDirectory(
  path: string,
  readFileSystemType: (path: string) => number = (at) => statfsSync(at).type,
): LockDirectory {
  const sessions = join(path, 'sessions');
  mkdirSync(sessions, { recursive: true, mode: 0o700 });
  const network = networkFileSystems[readFileSystemType(path)];
  if (network !== undefined) {
    throw new Error(
      `the lock directory ${path} is on ${network}, where locks are not reliable; it must be on a local file system`,
    );
  }
  return { state: join(path, 'state.json'), mutex: join(path, 'mutex'), sessions };
}
