import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { expect } from '@jest/globals';

const root = join(import.meta.dirname, '..');

/** Promises with the tags by which test names refer to them. */
export interface Promises {
  readonly title: string;
  /** The text of each promise, by tag. */
  readonly promised: Readonly<Record<string, string>>;
  /** The promises that no test can prove, with the reason. */
  readonly unproven?: Readonly<Record<string, string>>;
  /** True for the files whose tests count, named from test/ and without an extension; all by default. */
  readonly counts?: (file: string) => boolean;
  /** The tags in the name of a test. */
  readonly tagsOf: (testName: string) => readonly string[];
}

/** Prints which files prove which promise; fails when one has neither a test nor a reason. */
export function expectProven({
  title,
  promised,
  unproven = {},
  counts = () => true,
  tagsOf,
}: Promises): void {
  const tested = new Map<string, Set<string>>();
  for (const { file, name } of namedTests()) {
    if (!counts(file)) continue;
    for (const tag of tagsOf(name)) tested.set(tag, (tested.get(tag) ?? new Set()).add(file));
  }
  const tags = Object.keys(promised);
  const lines = tags.map((tag) => {
    const where = [...(tested.get(tag) ?? [])].join(', ') || unproven[tag] || 'MISSING';
    return `${tag}: ${promised[tag]}\n       ${where}`;
  });
  process.stdout.write(`${title}:\n${lines.join('\n')}\n`);
  expect(tags.filter((tag) => !tested.has(tag) && !unproven[tag])).toEqual([]);
  expect(Object.keys(unproven).filter((tag) => tested.has(tag))).toEqual([]);
  expect([...tested.keys()].filter((tag) => !tags.includes(tag))).toEqual([]);
}

/** Finds the tags in `word 3:`, in `words 3, 5 and 7:` and the like. */
export function numbered(word: string, id: RegExp): Promises['tagsOf'] {
  const list = new RegExp(`\\b${word}s? (${id.source}(?:(?:, | and )${id.source})*)\\b`, 'g');
  return (name) => [...name.matchAll(list)].flatMap(([, ids = '']) => ids.split(/, | and /));
}

interface NamedTest {
  /** The file's path from test/, without its extension. */
  readonly file: string;
  readonly name: string;
}

/** Yields each test with its name as it is written. */
function* namedTests(): Generator<NamedTest> {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' });
  // The test of the README writes its examples beside the tests while it runs.
  const isTest = (name: string) => name.endsWith('.ts') && !/^readme-\d+\.ts$/.test(name);
  for (const path of files.filter(isTest)) {
    const source = readFileSync(join(root, path), 'utf8');
    for (const [, , name = ''] of source.matchAll(
      /\btest(?:\.each(?:<[^(]*>)?\([\s\S]*?\))?\(\s*(['"`])(.*?)\1/g,
    )) {
      yield { file: path.replace(/(\.test)?\.ts$/, ''), name };
    }
  }
}
