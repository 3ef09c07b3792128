import type { Finding, TextFile } from './tree.ts';
import { findingAt } from './tree.ts';

/**
 * Finds doc comments that begin like a fragment: with a pronoun, or with a preposition or a
 * conjunction that no comma and clause follow. It reads first words only, so it misses fragments
 * that begin with a noun, and leaves noun phrases such as "Milliseconds since boot." alone.
 */
export function* commentFindings(file: TextFile): Generator<Finding> {
  if (!file.isProgram) return;
  for (const { kind, text, start } of file.parts) {
    if (kind !== 'doc') continue;
    const said = text.replace(/\s+/g, ' ').trim();
    const fragment = fragmentOf(said);
    if (fragment === undefined) continue;
    const at = start + text.search(/\S/);
    yield* findingAt('comment', file, at, `"${fragment}": begin with the subject or a verb`);
  }
}

const noNoun = 'it|they|them|he|ones|all|any|anything|there|this|that|such|is';

const pronoun = new RegExp(
  `^(who|whom|whose|whoever|what|whatever|those|that|these|it|its|they|their|them|he|his|ones|` +
    `others|such|so|than|then|else|not|only|even|or|and|but|nor|neither|told|like|` +
    `until|because|to|one (?:that|who|which|is|has|of them|after|for|in|by|more|all|with)|` +
    `(?:whether|how|where|when|which) (?:${noNoun}|(?:long|many|much|often|far) (?:${noNoun})))\\b`,
  'i',
);

const preposition =
  /^(of|in|on|by|for|from|with|without|within|at|as|under|over|into|onto|between|among|before|after|since|while|whenever|if|unless|though|although|during|through|per|instead|against|beside|besides|behind|below|above|towards?)\b/i;

/** Words that begin no main clause after a comma: relatives, prepositions, conjunctions. */
const weak =
  /^(who|whom|whose|which|that|what|of|in|on|by|for|from|with|without|at|as|under|or|and|but|so|because|than|to|not|if|when|where|while|until|unless|though|before|after|since|even|too|then)\b/i;

/** The first words of a comment that is a fragment, else undefined. */
export function fragmentOf(comment: string): string | undefined {
  const sentence = /^.*?(?:[.;?!](?= |$)|$)/.exec(comment)?.[0] ?? comment;
  const words = sentence.split(' ').slice(0, 6).join(' ');
  if (/^(this|these) (is|are|was|has|does)\b/i.test(sentence)) return words;
  if (pronoun.test(sentence)) return words;
  if (!preposition.test(sentence)) return undefined;
  const clauses = sentence.split(/[,:] /).slice(1);
  const hasMain = clauses.some((clause) => !weak.test(clause) && clause.split(' ').length > 2);
  return hasMain ? undefined : words;
}
