// The examples of lib/lock/README.md, run in a process of their own on a memory store.
import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');
const imports = /^import .*;$/gm;
/** The addresses of servers; test/package runs the examples on real ones. */
const addresses = /'(?:etcd|postgres|sqlite):[^']*'/g;

test('the examples of the README of lib/lock run without errors or output', async () => {
  const text = await readFile(join(root, 'lib/lock/README.md'), 'utf8');
  const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code = '']) => code);
  expect(examples.length).toBeGreaterThan(8);
  const code = examples.map((example) => example.replace(imports, ''));
  const [first = '', ...others] = code;
  // Each example gets a scope, which releases its locks; all see what the first one declares.
  const module = [
    ...new Set(examples.flatMap((example) => example.match(imports) ?? [])),
    first,
    ...others.map((example) => `{\n${example}}`),
  ].join('\n');
  const file = join(root, 'test', `readme-${process.pid}.ts`);
  const own = module
    .replaceAll(addresses, "'memory:'")
    .replaceAll('@berth/lock', '../lib/lock/index.ts');
  await writeFile(file, own);
  try {
    const run = await promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
    expect(run).toEqual({ stdout: '', stderr: '' });
  } finally {
    await rm(file);
  }
});
