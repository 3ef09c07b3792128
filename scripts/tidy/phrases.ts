import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Finding, TextFile } from './tree.ts';
import { findingAt } from './tree.ts';

export interface BannedPhrase {
  readonly pattern: RegExp;
  readonly plain: string;
}

/** The list that people edit; its head says how. */
export function bannedPhrases(): BannedPhrase[] {
  return readFileSync(join(import.meta.dirname, 'banned-phrases.txt'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [phrase = '', plain = ''] = line.split(' => ');
      return {
        pattern: new RegExp(`\\b(?:${phrase.replaceAll(' ', '\\s+')})(?!\\w)`, 'gi'),
        plain,
      };
    });
}

/** Finds banned phrases in everything that people read: comments, strings, names and documents. */
export function* phraseFindings(
  file: TextFile,
  phrases: readonly BannedPhrase[],
): Generator<Finding> {
  const any = new RegExp(phrases.map(({ pattern }) => pattern.source).join('|'), 'i');
  for (const { text, start } of file.parts) {
    if (!any.test(text)) continue;
    for (const { pattern, plain } of phrases) {
      for (const match of text.matchAll(pattern)) {
        const said = match[0].replace(/\s+/g, ' ');
        yield* findingAt('phrase', file, start + match.index, `"${said}": write ${plain}`);
      }
    }
  }
}
