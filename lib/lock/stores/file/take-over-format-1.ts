import { closeSync, openSync } from 'node:fs';
import { firstOf, StoreRefusedError, StoreUnavailableError } from '../../errors.ts';
import { flock } from './flock.ts';
import type { LockedFiles } from './locked-files.ts';
import { describeProcess } from './locked-files.ts';
import type { StateFile } from './state-file.ts';

/**
 * Makes sure that no process of berth 0.1.0 changes the state, in a turn of this one. That release locks the file `mutex`
 * for its own turns, and knows no other. So this process locks it once, and writes the state in a format that makes
 * that release end with a message. Does nothing when that is done.
 *
 * Rejects `StoreRefusedError` while a process of that release has a session: it could not unlock its locks any more, and a
 * person has to end it.
 */
export async function takeOverFormat1(
  file: StateFile,
  sessions: LockedFiles,
  mutexPath: string,
): Promise<void> {
  if (file.hasCurrentFormat()) return;
  const mutex = openSync(mutexPath, 'a', 0o600);
  try {
    if (!(await flock(mutex, 'exclusive', { wait: true }))) {
      throw new StoreUnavailableError(
        `a process of berth 0.1.0 keeps ${mutexPath} locked; fuser -v names it`,
      );
    }
    const state = file.current();
    const dead = new Set(await sessions.deadAmong(state.sessions));
    const living = state.sessions.filter((id) => sessions.has(id) && !dead.has(id));
    if (living.length > 0) throw usedByOthers(living.map((id) => sessions.path(id)));
    await file.replace(state);
  } finally {
    closeSync(mutex);
  }
}

function usedByOthers(paths: readonly string[]): StoreRefusedError {
  return new StoreRefusedError(
    `processes of berth 0.1.0 have sessions in this lock directory: ${firstOf(paths, describeProcess)}; end them, then this release takes it over`,
  );
}
