// Where the compiled code of a start is kept, so that the next start need not compile again.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');

/** The environment of this run without what a test gives its processes. */
const plain = { ...process.env };
delete plain.NODE_COMPILE_CACHE;
delete plain.NODE_DISABLE_COMPILE_CACHE;

test.each([
  ['the berth command', [join(root, 'bin/berth')]],
  ['npm start', startOf(readFileSync(join(root, 'package.json'), 'utf8'))],
])('%s keeps compiled code where only root may write', (_, [command = '', ...args]) => {
  // Node then says on standard error what it keeps.
  const env = { ...plain, NODE_DEBUG_NATIVE: 'COMPILE_CACHE' };
  const { stderr } = spawnSync(command, [...args, '--help'], { cwd: root, env, encoding: 'utf8' });
  expect(stderr).toContain('path /var/cache/berth ');
});

/** Returns the command line of `npm start`, without the set-up that npm runs before it. */
function startOf(packageJson: string): string[] {
  return String(JSON.parse(packageJson).scripts.start).split(' ');
}

test('a process that keeps compiled code lets its children do the same', () => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-test-'));
  try {
    expect(variableIn({ NODE_COMPILE_CACHE: directory })).toEqual({
      NODE_COMPILE_CACHE: directory,
    });
    expect(variableIn({})).toEqual({});
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** Returns what a process with this environment gives its children. */
function variableIn(given: Readonly<Record<string, string>>): unknown {
  const file = join(root, 'lib/running/compile-cache.ts');
  const script = `
    const { compileCacheVariable } = await import(${JSON.stringify(file)});
    process.stdout.write(JSON.stringify(compileCacheVariable()));`;
  const flags = ['--input-type=module', '--eval', script];
  const env = { ...plain, ...given };
  return JSON.parse(execFileSync(process.execPath, flags, { env, encoding: 'utf8' }));
}
