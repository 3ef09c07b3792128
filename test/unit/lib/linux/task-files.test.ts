// The mounts of this process's own files, and of a child's.

import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { parseMountInfo } from '../../../../lib/linux/mountinfo.ts';
import { processFileSync, threadIdsSync } from '../../../../lib/linux/proc.ts';
import {
  descriptorsOf,
  isOpenAsDirectory,
  isOpenForWriting,
  openFileOf,
  parseFdInfo,
  placeAt,
  placeOfLink,
} from '../../../../lib/linux/task-files.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-test-'));
afterAll(() => rmSync(directory, { recursive: true }));

const noSuchProcess = 2 ** 22 + 1;

test('reads the information of a descriptor as kernels write it', () => {
  const text = 'pos:\t0\nflags:\t0100002\nmnt_id:\t27\nino:\t99\nepoll: mnt_id:\t5\n';
  expect(parseFdInfo(text)).toEqual({ mountId: 27, flags: 0o100002 });
  expect(() => parseFdInfo('pos:\t0\n')).toThrow('not the information of a descriptor');
});

test('a file open for writing differs from one open for reading and from a directory', () => {
  const open = (path: string, flags: string | number) => {
    const descriptor = openSync(path, flags);
    const file = openFileOf('self', String(descriptor));
    expect(descriptorsOf('self')).toContain(String(descriptor));
    closeSync(descriptor);
    if (!file) throw new Error('the descriptor is open');
    return file;
  };
  const written = open(join(directory, 'file'), 'a');
  const read = open(join(directory, 'file'), 'r');
  const below = open(directory, 0o200000);
  expect([written, read, below].map(isOpenForWriting)).toEqual([true, false, false]);
  expect([written, read, below].map(isOpenAsDirectory)).toEqual([false, false, true]);
  const ids = parseMountInfo(processFileSync('self', 'mountinfo') ?? '').map(({ id }) => id);
  expect(ids).toContain(written.mountId);
});

test('knows where the working directory of another process is', async () => {
  const child = spawn('sleep', ['60'], { cwd: directory });
  try {
    const { pid = 0 } = child;
    expect(placeOfLink(pid, 'cwd')).toEqual(placeAt(directory));
    expect(placeOfLink(pid, 'cwd')).not.toEqual(placeOfLink(pid, 'root'));
    expect(threadIdsSync(pid)).toEqual([pid]);
  } finally {
    child.kill('SIGKILL');
  }
});

test('answers undefined for a process that has ended', () => {
  expect(placeOfLink(noSuchProcess, 'cwd')).toBeUndefined();
  expect(descriptorsOf(noSuchProcess)).toBeUndefined();
  expect(openFileOf(noSuchProcess, '1')).toBeUndefined();
  expect(openFileOf('self', '99999')).toBeUndefined();
  expect(threadIdsSync(noSuchProcess)).toEqual([]);
});
