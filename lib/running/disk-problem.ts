import { hasCode } from '../linux/error-code.ts';
import { messageOf } from './message-of.ts';

/** What a person can do about a disk, by the code of its error. */
const sentences: readonly (readonly [code: string, sentence: string])[] = [
  ['ENOSPC', 'the disk is full; free some space'],
  ['EDQUOT', 'the disk quota is used up; free some space, or raise it'],
  ['EROFS', 'the file system is read-only'],
  ['EIO', 'the disk reported an error'],
];

/** True when `error` says that a disk can't be written, which is no fault of the program. */
export function isDiskProblem(error: unknown): boolean {
  return hasCode(error, ...sentences.map(([code]) => code));
}

/** What is wrong with the disk, and what the system said, which names the place. */
export function diskProblem(error: unknown): string {
  const said = messageOf(error);
  const sentence = sentences.find(([code]) => hasCode(error, code))?.[1];
  return sentence === undefined ? said : `${sentence} (${said})`;
}
