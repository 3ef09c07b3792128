import { hasCode } from '../../../linux/error-code.ts';
import { StoreUnavailableError } from '../../errors.ts';

const sentences: readonly (readonly [codes: readonly string[], sentence: string])[] = [
  [['ENOSPC', 'EDQUOT'], 'the disk is full'],
  [['EACCES', 'EPERM'], 'this user may not read and write there'],
  [['EROFS'], 'it is on a read-only file system'],
  [['ENOTDIR', 'EEXIST', 'EISDIR'], 'another file has that name, or a part of it'],
  [['ENOENT'], 'it has been removed; restart berth'],
  [['EMFILE', 'ENFILE'], 'too many files are open'],
  [['EIO'], 'the disk reported an error'],
];

/** Returns the error for the store's caller; an error without a system code stays as it is. */
export function explainFileError(error: unknown, directory: string): unknown {
  if (error instanceof StoreUnavailableError) return error;
  const sentence = sentences.find(([codes]) => hasCode(error, ...codes))?.[1];
  if (sentence === undefined) return error;
  return new StoreUnavailableError(`the lock directory ${directory} can't be used: ${sentence}`, {
    cause: error,
  });
}
