import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const options = { cwd: root, env: { ...process.env, NO_COLOR: '1' } };
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
