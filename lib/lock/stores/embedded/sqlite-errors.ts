import { StoreRefusedError, StoreUnavailableError } from '../../errors.ts';

/** SQLite's primary result codes for what is wrong with the machine rather than with the program. */
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

/** Those after which nothing was written, and won't be until a person mends something. */
const refusals: readonly number[] = [8, 13, 14];

/** Of "the disk reported an error": the file that SQLite maps into memory could not grow. */
const noRoomToMap = 4874;

/** True when the statement may succeed if it is tried again in a moment. Nothing was changed. */
export function isBusy(error: unknown): boolean {
  const code = resultCode(error);
  return code === 5 || code === 6;
}

/** What a caller of the store gets instead of `error`; a bug is passed on as it is. */
export function explainSqlite(error: unknown, path: string): unknown {
  const sentence = sentences[resultCode(error) ?? 0] ?? fileSentence(error);
  if (sentence === undefined) return error;
  const isRefusal = refusals.includes(resultCode(error) ?? 0);
  const Unavailable = isRefusal ? StoreRefusedError : StoreUnavailableError;
  return new Unavailable(`the lock file ${path} can't be used: ${sentence}`, { cause: error });
}

function resultCode(error: unknown): number | undefined {
  if (!Error.isError(error) || !('errcode' in error)) return undefined;
  if (error.errcode === noRoomToMap) return 13;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

/** For the directory, which is made before SQLite comes in. */
function fileSentence(error: unknown): string | undefined {
  if (!Error.isError(error) || !('syscall' in error)) return undefined;
  return `its directory could not be made (${error.message})`;
}
