import { commentFindings } from './comments.ts';
import { constantFindings } from './constants.ts';
import { headingFindings } from './headings.ts';
import { pageFindings } from './pages.ts';
import { bannedPhrases, phraseFindings } from './phrases.ts';
import { referenceFindings } from './references.ts';
import type { Finding } from './tree.ts';
import { readTree } from './tree.ts';

export const rules = ['phrase', 'comment', 'constant', 'heading', 'page', 'file', 'link'] as const;

/** Applies every rule to the tree below a directory. */
export function tidyFindings(directory: string): Finding[] {
  const tree = readTree(directory);
  const phrases = bannedPhrases();
  return [
    ...tree.files.flatMap((file) => [
      ...phraseFindings(file, phrases),
      ...commentFindings(file),
      ...constantFindings(file),
      ...headingFindings(file),
    ]),
    ...pageFindings(tree),
    ...referenceFindings(tree),
  ];
}
