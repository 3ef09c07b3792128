import { hasCode } from '../linux/error-code.ts';
import { messageOf } from './message-of.ts';

/** The advice for a person, by the code of a disk's error. */
const sentences: readonly (readonly [code: string, sentence: string])[] = [
  ['ENOSPC', 'the disk is full; free some space'],
  ['EDQUOT', 'the disk quota is used up; free some space, or raise it'],
  ['EROFS', 'the file system is read-only'],
  ['EIO', 'the disk reported an error'],
];

/** Returns true if `error` says that a disk can't be written: no fault of the program. */
export function isDiskProblem(error: unknown): boolean {
  return hasCode(error, ...sentences.map(([code]) => code));
}

/** Returns what is wrong with the disk, and the system's message, which names the file. */
export function diskProblem(error: unknown): string {
  const message = messageOf(error);
  const sentence = sentences.find(([code]) => hasCode(error, code))?.[1];
  return sentence === undefined ? message : `${sentence} (${message})`;
}
