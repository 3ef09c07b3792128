import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { hasCode } from '../../lib/linux/error-code.ts';

/** Another process uses the state directory. */
export class StateDirectoryInUseError extends Error {
  override readonly name = 'StateDirectoryInUseError';
}

/** SQLite's files, which an earlier release made readable for everybody. */
const sqliteFiles = ['daemon.lock', 'berth.db', 'berth.db-wal', 'berth.db-shm'];

/**
 * Makes the state directory and locks it for this process. The lock is an exclusive SQLite
 * transaction, which the kernel ends with the process, however the process ends.
 */
export async function takeStateDirectory(path: string): Promise<Disposable> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await closeToOthers(path);
  const database = new DatabaseSync(join(path, 'daemon.lock'));
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    throw new StateDirectoryInUseError(
      `another berth uses the state directory ${path}: stop it, or give this one another ` +
        'with --state-dir',
      { cause: error },
    );
  }
  return { [Symbol.dispose]: () => database.close() };
}

/**
 * Takes the right to read SQLite's files from all other users, whatever the mode of the directory: a
 * process that can read a file can also lock it, and so stop every operation.
 */
async function closeToOthers(directory: string): Promise<void> {
  for (const name of sqliteFiles) {
    try {
      await chmod(join(directory, name), 0o600);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
}
