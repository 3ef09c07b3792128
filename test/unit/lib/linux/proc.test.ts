// Reading /proc: this process and a child of it, and lines as kernels write them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import {
  commandLineOf,
  ifSeen,
  namespaceOf,
  namespaceOfSync,
  parseProcessStat,
  processFile,
  processFileSync,
  processIds,
  processIdsSync,
  processStatSync,
} from '../../../../lib/linux/proc.ts';

/** No process has it: it is above the largest ID that a kernel gives. */
const noSuchProcess = 2 ** 22 + 1;

test('lists processes, and nothing else of /proc', async () => {
  for (const pids of [await processIds(), processIdsSync()]) {
    expect(pids).toContain(process.pid);
    expect(pids.every(Number.isInteger)).toBe(true);
  }
});

test('reads the status of a process whose name has blanks and brackets', () => {
  const numbers = Array.from({ length: 40 }, (_, index) => index + 5).join(' ');
  expect(parseProcessStat(`12 (a) b (c) S 7 ${numbers}\n`)).toEqual({
    state: 'S',
    parent: 7,
    started: '22',
    usedTicks: 14 + 15,
  });
  expect(() => parseProcessStat('12 (a) S 7')).toThrow('not the status of a process');
});

test('knows a process by its state, parent and start', async () => {
  const child = spawn('sleep', ['60']);
  try {
    const { pid = 0 } = child;
    const own = processStatSync('self');
    const stat = processStatSync(pid);
    expect(stat?.parent).toBe(process.pid);
    expect(Number(stat?.started)).toBeGreaterThanOrEqual(Number(own?.started));
    await once(child, 'spawn');
    await expect(commandLineOf(pid)).resolves.toEqual(['sleep', '60']);
  } finally {
    child.kill('SIGKILL');
  }
});

test('reads files and namespaces of a process', async () => {
  const own = readlinkSync('/proc/self/ns/mnt');
  expect(namespaceOfSync('self', 'mnt')).toBe(own);
  await expect(namespaceOf(process.pid, 'mnt')).resolves.toBe(own);
  await expect(namespaceOf(`${process.pid}/task/${process.pid}`, 'mnt')).resolves.toBe(own);
  await expect(processFile('self', 'mountinfo')).resolves.toContain(' / ');
  expect(processFileSync('self', 'mountinfo')).toContain(' / ');
});

test('answers undefined for a process that has ended', async () => {
  expect(processStatSync(noSuchProcess)).toBeUndefined();
  expect(processFileSync(noSuchProcess, 'cgroup')).toBeUndefined();
  expect(namespaceOfSync(noSuchProcess, 'mnt')).toBeUndefined();
  await expect(processFile(noSuchProcess, 'cgroup')).resolves.toBeUndefined();
  await expect(namespaceOf(noSuchProcess, 'mnt')).resolves.toBeUndefined();
  await expect(commandLineOf(noSuchProcess)).resolves.toEqual([]);
});

test('throws errors that say nothing about the process, such as too many open files', async () => {
  const error = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
  await expect(ifSeen(Promise.reject(error))).rejects.toThrow('EMFILE');
});
