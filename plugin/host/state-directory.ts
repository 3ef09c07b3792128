import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Another process uses the state directory. */
export class StateDirectoryInUseError extends Error {
  override readonly name = 'StateDirectoryInUseError';
}

/**
 * Makes the state directory and locks it for this process. The lock is an exclusive SQLite
 * transaction, which the kernel ends with the process, however the process ends.
 */
export async function takeStateDirectory(path: string): Promise<Disposable> {
  await mkdir(path, { recursive: true, mode: 0o700 });
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
