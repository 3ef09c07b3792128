import { types } from 'node:util';
import { StoreRefusedError, StoreUnavailableError } from '../../errors.ts';

/** SQLite's primary result codes for faults of the machine, not of the program. */
const sentences: Readonly<Record<number, string>> = {
  5: 'another process has kept it locked for too long',
  6: 'another process has kept it locked for too long',
  8: 'it, or its directory, is read-only',
  10: 'the disk reported an error',
  11: 'it is damaged; restore it, or delete it while nothing is mounted',
  13: 'the disk is full; free some space',
  14: 'it could not be opened; check that its directory exists and may be written to',
  26: 'it is not a database; delete it or choose another path',
};

/** Codes after which nothing was written, and nothing will be until a person repairs the cause. */
const refusals: readonly number[] = [8, 13, 14];

/** The extended code of "the disk reported an error" for a memory-mapped file that can't grow. */
const noRoomToMap = 4874;

/** True if a retry of the statement may succeed. Nothing was changed. */
export function isBusy(error: unknown): boolean {
  const code = resultCode(error);
  return code === 5 || code === 6;
}

/** True if the file is damaged, or no database at all. */
export function isDamage(error: unknown): boolean {
  const code = resultCode(error);
  return code === 11 || code === 26;
}

/** Returns the error for the store's caller; a bug stays as it is. */
export function explainSqlite(error: unknown, path: string): unknown {
  const sentence = sentences[resultCode(error) ?? 0] ?? fileSentence(error);
  if (sentence === undefined) return error;
  const isRefusal = refusals.includes(resultCode(error) ?? 0);
  const Unavailable = isRefusal ? StoreRefusedError : StoreUnavailableError;
  return new Unavailable(`the lock file ${path} can't be used: ${sentence}`, { cause: error });
}

function resultCode(error: unknown): number | undefined {
  if (!types.isNativeError(error) || !('errcode' in error)) return undefined;
  if (error.errcode === noRoomToMap) return 13;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

/** Names errors of the directory, which is created before SQLite opens the file. */
function fileSentence(error: unknown): string | undefined {
  if (!types.isNativeError(error) || !('syscall' in error)) return undefined;
  return `its directory could not be made (${error.message})`;
}
