import type { Finding, TextFile } from './tree.ts';
import { findingAt } from './tree.ts';

const heading = /^```(?:.|\n)*?^```|^#{1,2} (?<title>.+)$/gm;

/** Finds sections that a document has twice, which a merge can leave. Deeper headings may repeat: a changelog's do. */
export function* headingFindings(file: TextFile): Generator<Finding> {
  if (!file.isMarkdown) return;
  const seen = new Set<string>();
  for (const { groups, index } of file.source.matchAll(heading)) {
    const title = groups?.title;
    if (title === undefined) continue;
    if (seen.has(title)) yield* findingAt('heading', file, index, `"${title}" is there twice`);
    seen.add(title);
  }
}
