import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadFileSystemType } from '../local-file-system.ts';
import { requireLocalFileSystem } from '../local-file-system.ts';

/** The paths of the store's files. */
export interface LockDirectory {
  readonly state: string;
  /** Locked for each writing turn. Never deleted, or two processes could lock one file each. */
  readonly mutex: string;
  readonly sessions: string;
}

/** Creates the directory if missing. Throws on a file system that is not of one host. */
export function openLockDirectory(
  path: string,
  readFileSystemType?: ReadFileSystemType,
): LockDirectory {
  const sessions = join(path, 'sessions');
  mkdirSync(sessions, { recursive: true, mode: 0o700 });
  requireLocalFileSystem(`the lock directory ${path}`, path, readFileSystemType);
  return { state: join(path, 'state.json'), mutex: join(path, 'mutex'), sessions };
}
