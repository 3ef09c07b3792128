// Every way to start a daemon has Node's option that saves memory: the benches measure with it.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../../..');
const option = '--optimize-for-size';
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** Returns the options with which a command starts Node; the program itself does not run. */
function nodeOptions(command: string, ...args: string[]): string[] {
  const stop = 'process.stdout.write(JSON.stringify(process.execArgv));process.exit()';
  const env = { ...process.env, NODE_OPTIONS: `--import=data:text/javascript,${stop}` };
  return JSON.parse(spawnSync(command, args, { cwd: root, env, encoding: 'utf8' }).stdout);
}

test('berth serve saves memory, and no other command of berth is slowed', () => {
  expect(nodeOptions('bin/berth', 'serve')).toContain(option);
  expect(nodeOptions('bin/berth', 'status')).not.toContain(option);
});

test('npm start, the image and the managed plugin save memory', () => {
  expect(JSON.parse(read('package.json')).scripts.start).toContain(option);
  expect(JSON.parse(read('config.json')).entrypoint).toContain(option);
  expect(read('Dockerfile')).toMatch(new RegExp(`^ENTRYPOINT .*"${option}"`, 'm'));
});
