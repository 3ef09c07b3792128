import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');
const imports = /^import .*;$/gm;

test('the examples of the README of the locks run', async () => {
  const text = await readFile(join(root, 'lib/lock/README.md'), 'utf8');
  const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code = '']) => code);
  expect(examples.length).toBeGreaterThan(8);
  const code = examples.map((example) => example.replace(imports, ''));
  const [first = '', ...others] = code;
  // A scope for each, at whose end its locks are released; all see what the first has made.
  const module = [
    ...examples.flatMap((example) => example.match(imports) ?? []),
    first,
    ...others.map((example) => `{\n${example}}`),
  ].join('\n');
  // Inside the package, so that it may import it by name.
  const file = join(root, 'test', `readme-${process.pid}.ts`);
  await writeFile(file, module);
  try {
    const run = await promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
    expect(run).toEqual({ stdout: '', stderr: '' });
  } finally {
    await rm(file);
  }
});
