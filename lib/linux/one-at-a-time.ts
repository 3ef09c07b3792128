import { chmod, lstat } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from './error-code.ts';

/** Far longer than a start needs. */
const limitMs = 10_000;
const pauseMs = 10;

/**
 * Runs `work` of one process of this machine at a time. The mutex is a lock on the file `path`, an exclusive
 * SQLite transaction that writes nothing: Node can't lock files by itself. The kernel ends it with the process.
 * The file has mode 0600 and stays, so that no other user can open it, and with that can't lock it.
 * Rejects if another process has the lock for 10 s, or if the file is not one that this user owns.
 */
export async function oneAtATime<T>(path: string, work: () => Promise<T>): Promise<T> {
  const end = performance.now() + limitMs;
  await requireOwn(path);
  for (;;) {
    const lock = tryLock(path);
    if (!lock) {
      if (performance.now() > end) {
        throw new Error(
          `another process of this user has locked ${path} for ${limitMs / 1_000} s: it is starting on the same ` +
            'socket; end it, then start again',
        );
      }
      await delay(pauseMs);
      continue;
    }
    try {
      return await work();
    } finally {
      lock.close();
    }
  }
}

/** Undefined: another process has the lock. */
function tryLock(path: string): DatabaseSync | undefined {
  // A later chmod would leave a moment with another mode.
  const umask = process.umask(0o177);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    if (isBusy(error)) return undefined;
    throw new Error(`can't lock ${path}`, { cause: error });
  } finally {
    process.umask(umask);
  }
}

/** True for SQLITE_BUSY, also in an extended code. Tests the code, not the class, as `hasCode`. */
function isBusy(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return false;
  return (Number(error.errcode) & 0xff) === 5;
}

/** Rejects for a link, and for a file of another user: they could lead elsewhere, or be locked by others. */
async function requireOwn(path: string): Promise<void> {
  try {
    const found = await lstat(path);
    if (!found.isFile() || found.uid !== process.geteuid?.()) {
      throw new Error(`${path} is not a file of this user: remove it`);
    }
    if ((found.mode & 0o777) !== 0o600) await chmod(path, 0o600);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}
