import { commentFindings } from './comments.ts';
import { constantFindings } from './constants.ts';
import { pageFindings } from './pages.ts';
import { bannedPhrases, phraseFindings } from './phrases.ts';
import { referenceFindings } from './references.ts';
import type { Finding } from './tree.ts';
import { readTree } from './tree.ts';

export const rules = ['phrase', 'comment', 'constant', 'page', 'file', 'link'] as const;

/** Applies every rule to the tree below a directory. */
export function tidyFindings(directory: string): Finding[] {
  const tree = readTree(directory);
  const phrases = bannedPhrases();
  return [
    ...tree.files.flatMap((file) => [
      ...phraseFindings(file, phrases),
      ...commentFindings(file),
      ...constantFindings(file),
    ]),
    ...pageFindings(tree),
    ...referenceFindings(tree),
  ];
}
