// Whose a state directory is: real files, and processes of this machine.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { processStatSync } from '../../../../lib/linux/proc.ts';
import type { ProcessIdentity } from '../../../../lib/linux/process-identity.ts';
import { thisProcess } from '../../../../lib/linux/process-identity.ts';
import {
  earlierSessionPath,
  ownStateDirectory,
  StateDirectoryCopiedError,
} from '../../../../plugin/host/state-owner.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const n1 = { machine: 'm1', host: 'n1' };
const now = new Date('2026-11-27T04:00:00Z');
const self = thisProcess();
const ended: ProcessIdentity = { ...self, pid: 4_000_000, started: '1' };

let directory: TemporaryDirectory;
beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  await writeFile(join(directory.path, 'session-etcd'), 'lease');
  await writeFile(join(directory.path, 'mounts.json'), 'table');
  await writeFile(join(directory.path, 'events.jsonl'), 'events');
});
afterEach(async () => {
  await directory[Symbol.asyncDispose]();
});

const own = (host = n1, process = self) => ownStateDirectory(directory.path, host, process, now);

test('the directory of a release that named no owner is taken as this machine’s', async () => {
  expect(await own()).toEqual({ is: 'new' });
  expect(await readdir(directory.path)).toContain('session-etcd');
});

test('a restart continues, also under another name', async () => {
  await own(n1, ended);
  expect(await own()).toEqual({ is: 'continued' });
  expect(await own({ machine: 'm1', host: 'renamed' })).toEqual({ is: 'continued' });
});

test('another boot differs from a restart, and keeps the files', async () => {
  await own(n1, { ...ended, boot: 'earlier' });
  expect(await own()).toEqual({ is: 'rebooted' });
  expect(await own()).toEqual({ is: 'continued' });
  expect(await readdir(directory.path)).toEqual(expect.arrayContaining(['mounts.json']));
});

test('a process that can not be seen from here may still use the session', async () => {
  await own(n1, { ...ended, namespace: 'pid:[1]' });
  expect(await own()).toEqual({ is: 'unseen' });
  const left = await readdir(directory.path);
  expect(left).not.toContain('session-etcd');
  expect(left).toContain('mounts.json');
  expect(await readFile(earlierSessionPath(directory.path), 'utf8')).toBe('lease');
  expect(await own()).toEqual({ is: 'continued' });
});

test('no later start of another boot finds the shared session to resume', async () => {
  await writeFile(join(directory.path, 'session-embedded'), 'own');
  await own(n1, { ...ended, boot: 'earlier' });
  await own(n1, ended); // Killed before it has opened a session.
  await own();
  const left = await readdir(directory.path);
  expect(left).not.toContain('session-etcd');
  expect(left).toContain('session-embedded');
  expect(await readFile(earlierSessionPath(directory.path), 'utf8')).toBe('lease');
});

test('what another machine has left is set aside, and events are kept', async () => {
  await own(n1, ended);
  const owner = await own({ machine: 'm2', host: 'n2' });
  const aside = join(directory.path, 'of-m1-2026-11-27T04:00:00.000Z');
  expect(owner).toEqual({ is: 'copied', from: 'n1 (machine ID m1)', aside });
  expect((await readdir(aside)).sort()).toEqual(['mounts.json', 'session-etcd']);
  const left = await readdir(directory.path);
  expect(left.filter((name) => !name.startsWith('of-')).sort()).toEqual([
    'events.jsonl',
    'host.json',
  ]);
  expect(await own({ machine: 'm2', host: 'n2' })).toEqual({ is: 'continued' });
});

test('a copy of the directory is refused while the process runs that uses the original', async () => {
  const parent = processStatSync(process.ppid);
  await own(n1, { ...self, pid: process.ppid, started: parent?.started ?? '' });
  await expect(own()).rejects.toThrow(StateDirectoryCopiedError);
  await expect(own()).rejects.toThrow(`process ${process.ppid} of this machine uses`);
});

test('a file that can not be read proves nothing, and is replaced', async () => {
  await writeFile(join(directory.path, 'host.json'), '{"format": 1');
  expect(await own()).toEqual({ is: 'new' });
  expect(JSON.parse(await readFile(join(directory.path, 'host.json'), 'utf8'))).toMatchObject(n1);
});

test('a disk that accepts nothing prevents no start', async () => {
  await mkdir(join(directory.path, 'host.json.new'));
  expect(await own()).toEqual({ is: 'new' });
});
