// What continuous integration makes of failed tests: the real .ci/run, with an npm that fails as told.
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { repository } from '../../support/berth.ts';
import { runProcess } from '../../support/processes.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

let stack: AsyncDisposableStack;
let directory: string;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  directory = stack.use(await makeTemporaryDirectory()).path;
  await mkdir(join(directory, '.ci'));
  await cp(join(repository, '.ci/run'), join(directory, '.ci/run'));
});
afterEach(() => stack.disposeAsync());

/**
 * Runs it. `whole`: the failures of the first `npm test`; undefined: none; with an empty list it ends before any test.
 * `alone`: the second one passes, too.
 */
async function run({ whole, alone }: { whole?: readonly string[]; alone?: boolean }) {
  const calls = join(directory, 'calls');
  const log = whole?.map((file) => `${file} a test: Error: red`).join('\n');
  await writeFile(
    join(directory, 'npm'),
    `#!/bin/sh
echo "$*" >> ${calls}
case "$*" in
  test) ${whole === undefined ? 'exit 0' : `${log ? `echo '${log}' > failed-tests.log;` : ''} exit 1`} ;;
  'test --'*) ${alone ? 'exit 0' : 'exit 1'} ;;
esac
`,
  );
  await chmod(join(directory, 'npm'), 0o755);
  const env = { PATH: `${directory}:${process.env.PATH}` };
  const { code, stdout } = await runProcess('bash', [join(directory, '.ci/run')], { env });
  const called = (await readFile(calls, 'utf8')).trim().split('\n');
  return { code, called, end: stdout.trim().split('\n').slice(-3) };
}

test('passes when everything passes', async () => {
  expect(await run({})).toMatchObject({ code: 0, called: ['test', 'run check'] });
});

test('names a test that fails beside others and passes alone, and passes', async () => {
  const { code, called, end } = await run({ whole: ['a.test.ts', 'a.test.ts'], alone: true });
  expect(called).toEqual(['test', 'test -- --runInBand a.test.ts', 'run check']);
  expect(end.join('\n')).toMatch(/a\.test\.ts a test: Error: red\n\nEverything passed\.$/);
  expect(code).toBe(0);
});

test('fails when a test fails again alone', async () => {
  const { code, end } = await run({ whole: ['a.test.ts'], alone: false });
  expect(end).toEqual(['a.test.ts a test: Error: red', '', 'Failed: npm test again']);
  expect(code).toBe(1);
});

test('fails at once when more than three files fail', async () => {
  const whole = ['a', 'b', 'c', 'd'].map((name) => `${name}.test.ts`);
  const { code, called } = await run({ whole, alone: true });
  expect(called).toEqual(['test', 'run check']);
  expect(code).toBe(1);
});

test('fails when the tests could not begin', async () => {
  expect(await run({ whole: [], alone: true })).toMatchObject({
    code: 1,
    called: ['test', 'run check'],
  });
});
