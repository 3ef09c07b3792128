// `berth volume create`, `rename` and `rm`, run in this process against a real admin socket with volumes in memory.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InUseError, InvalidRequestError, UnavailableError } from '../../../lib/volumes/errors.ts';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import { runBerth } from '../../support/berth-command.ts';
import type { MemoryVolumes } from '../../support/memory-volumes.ts';

let socket: AdminSocket;
let volumes: MemoryVolumes;

beforeEach(async () => {
  socket = await openAdminSocket();
  ({ volumes } = socket);
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

const berth = (commandLine: string) => runBerth(commandLine, { path: socket.path });
const names = () => volumes.list().map(({ record }) => record.name);

test('volume create passes each option on, and prints the name; a repeat changes nothing', async () => {
  const line = 'volume create -o driver=image --opt size=64M db';
  const created = { exitCode: 0, stdout: 'db\n', stderr: '' };
  expect(await berth(line)).toEqual(created);
  expect(await berth(line)).toEqual(created);
  expect(volumes.calls.at(-1)).toBe('create db {"driver":"image","size":"64M"}');
  expect(await berth('volume create --json other')).toMatchObject({
    stdout: `${JSON.stringify({ created: 'other' }, null, 2)}\n`,
  });
  expect(names()).toEqual(['db', 'other']);
});

test.each<[line: string, exitCode: number, says: RegExp]>([
  ['volume create', 2, /missing required argument 'volume'/],
  ['volume create db extra', 2, /too many arguments/],
  ['volume create -o size db', 2, /use NAME=VALUE/],
  ['volume create -o a=1 -o a=2 db', 2, /a is given twice/],
  ['volume create ../x', 2, /is not a valid volume name/],
  ['volume rename db', 2, /missing required argument 'new-name'/],
  ['volume rename nope other', 3, /no such volume: nope/],
  ['volume rename ../x other', 2, /is not a valid volume name/],
  ['volume rename db ../x', 2, /is not a valid volume name/],
  ['volume rm', 2, /missing required argument 'volume'/],
  ['volume rm nope', 3, /no such volume: nope\n {2}list the volumes/],
  ['volume rm ../x', 2, /is not a valid volume name/],
])('berth %s exits with %d and says why', async (line, exitCode, says) => {
  expect(await berth(line)).toMatchObject({ exitCode, stderr: expect.stringMatching(says) });
  expect(names()).toEqual([]);
});

test('a refusal of the daemon is the exit code: bad options, another volume, a store that is away', async () => {
  await berth('volume create db');
  expect(await berth('volume create -o size=1G db')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('exists with other options'),
  });
  volumes.faults.create = () => {
    throw new InvalidRequestError('unknown option "sise"');
  };
  expect(await berth('volume create -o sise=1G big')).toMatchObject({ exitCode: 2 });
  volumes.faults.create = () => {
    throw new UnavailableError('the store is away');
  };
  expect(await berth('volume create big')).toMatchObject({ exitCode: 5 });
});

test('volume rm removes the others when one is refused, and exits for the first refusal', async () => {
  for (const name of ['one', 'used', 'three']) await berth(`volume create ${name}`);
  volumes.faults.remove = () => {
    if (volumes.calls.at(-1) === 'remove used')
      throw new InUseError('volume used is mounted on n2');
  };
  const { exitCode, stdout, stderr } = await berth('volume rm one used nope three');
  expect(stdout).toBe('removed one\nremoved three\n');
  expect(exitCode).toBe(4);
  expect(stderr).toContain('berth: volume used is mounted on n2\n');
  expect(stderr).toContain('berth: no such volume: nope\n');
  expect(names()).toEqual(['used']);
});

test('volume rename says what Docker does for containers that keep the former name', async () => {
  await berth('volume create db');
  expect(await berth('volume rename db sales')).toEqual({
    exitCode: 0,
    stdout:
      "db is sales now\nDocker's containers that name db do not follow: those that exist fail to start, and new " +
      'ones get a new, empty volume db. Make them again with sales.\n',
    stderr: '',
  });
  expect(JSON.parse((await berth('volume rename --json sales db')).stdout)).toEqual({
    ...{ renamed: 'sales', to: 'db' },
  });
  await berth('volume create sales');
  expect(await berth('volume rename db sales')).toMatchObject({ exitCode: 1 });
});
