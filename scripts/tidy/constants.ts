import type { Finding, TextFile } from './tree.ts';
import { findingAt } from './tree.ts';

const upperCase = /\b(?:const|let|static readonly|static) (?<name>[A-Z][A-Z0-9_]+)\b/g;

/** Finds constants in upper case: the house style is camelCase for all of them. */
export function* constantFindings(file: TextFile): Generator<Finding> {
  if (!file.isProgram) return;
  for (const { kind, text, start } of file.parts) {
    if (kind !== 'code') continue;
    for (const { groups, index } of text.matchAll(upperCase)) {
      const name = groups?.name ?? '';
      yield* findingAt('constant', file, start + index, `${name}: write it in camelCase`);
    }
  }
}
