import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadFileSystemType } from '../local-file-system.ts';
import { requireLocalFileSystem } from '../local-file-system.ts';

/** The paths of the store's files. */
export interface LockDirectory {
  readonly state: string;
  readonly sessions: string;
  readonly turn: TurnPaths;
  /** Locked for each writing turn by berth 0.1.0. Never deleted, or two processes could lock one file each. */
  readonly mutex: string;
}

/** The paths of the turn: a folder of its own, whose changes wake no watcher of the state. */
export interface TurnPaths {
  /** Holds one file per open store that has changed the state. */
  readonly folder: string;
  /** A further name for the file of the store that has the turn. */
  readonly now: string;
  /** A further name for the file of the store that gets the turn next. */
  readonly next: string;
}

/** Creates the directory if missing. Throws on a file system that is not of one host. */
export function openLockDirectory(
  path: string,
  readFileSystemType?: ReadFileSystemType,
): LockDirectory {
  const sessions = join(path, 'sessions');
  mkdirSync(sessions, { recursive: true, mode: 0o700 });
  requireLocalFileSystem(`the lock directory ${path}`, path, readFileSystemType);
  const folder = join(path, 'turn');
  return {
    state: join(path, 'state.json'),
    sessions,
    turn: { folder, now: join(folder, 'now'), next: join(folder, 'next') },
    mutex: join(path, 'mutex'),
  };
}
