import { execFile, execFileSync } from 'node:child_process';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const root = join(import.meta.dirname, '../../..');

const run = (...args: string[]) => runIn(root, ...args);

async function runIn(
  cwd: string,
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const options = { cwd, env: { ...process.env, NO_COLOR: '1' } };
  return promisify(execFile)(process.execPath, args, options).then(
    (output) => ({ code: 0, ...output }),
    (error) => error,
  );
}

test('npm run test:e2e without a name lists the rooms and their files', async () => {
  const { code, stdout } = await run('scripts/e2e.mjs');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^mounts\n(?: {2}[\w-]+\n)* {2}volumes\n/m);
  expect(stdout).toMatch(/^fencing\n/m);
});

test('npm run test:e2e with a name that no file has fails, and says so', async () => {
  expect(await run('scripts/e2e.mjs', 'no-such-test')).toMatchObject({
    code: 2,
    stderr: 'No test in test/e2e has no-such-test in its path.\n',
  });
});

test('parts run side by side fail together, and only a failure shows its output', async () => {
  const part = (name: string, script: string) =>
    `{ name: '${name}', command: process.execPath, args: ['-e', "${script}"] }`;
  const parts = [
    part('good', "console.log('fine')"),
    part('bad', "console.log('broken'); process.exit(1)"),
  ];
  const { stdout } = await run(
    '--input-type=module',
    '-e',
    `import { sideBySide } from './scripts/side-by-side.mjs';
     process.stdout.write(String(await sideBySide([${parts.join(', ')}])));`,
  );
  expect(stdout).toMatch(/^passed {2}good \(/m);
  expect(stdout).toMatch(/broken\nFAILED {2}bad \(/);
  expect(stdout).not.toContain('fine');
  expect(stdout.endsWith('false')).toBe(true);
});

test('lint-changed lints a file until it passes, and again when it has changed', async () => {
  await using project = await makeTemporaryDirectory();
  for (const name of ['biome.json', 'package.json', 'package-lock.json', '.gitignore']) {
    await copyFile(join(root, name), join(project.path, name));
  }
  execFileSync('git', ['init', '--quiet'], { cwd: project.path });
  const write = (text: string) => writeFile(join(project.path, 'a.mjs'), text);
  const lint = async () => (await runIn(project.path, join(root, 'scripts/lint-changed.mjs'))).code;
  await write('const unused = 1;\n');
  expect([await lint(), await lint()]).toEqual([1, 1]);
  await write('export const used = 1;\n');
  expect(await lint()).toBe(0);
  // The configuration counts as a change of every file, and this one can't be read.
  await writeFile(join(project.path, 'biome.json'), '{');
  expect(await lint()).toBe(1);
});
