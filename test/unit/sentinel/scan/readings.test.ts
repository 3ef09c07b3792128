// Readings of a child process: remembered while it sleeps, made again when it has run.

import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { placeAt } from '../../../../lib/linux/task-files.ts';
import { holds } from '../../../../sentinel/scan/holdings.ts';
import { Readings } from '../../../../sentinel/scan/readings.ts';
import { waitFor } from '../../../support/processes.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-test-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Starts a shell that carries out what it is sent, and waits until it has. */
async function shell(): Promise<{ pid: number; child: ChildProcessWithoutNullStreams }> {
  const child = spawn('sh', [], { cwd: '/sys' });
  await once(child, 'spawn');
  return { pid: child.pid ?? 0, child };
}

async function carryOut(child: ChildProcessWithoutNullStreams, command: string): Promise<void> {
  child.stdin.write(`${command}; echo done\n`);
  await once(child.stdout, 'data');
}

/** Waits until the shell sleeps after what it has done. */
async function untilRemembered(readings: Readings, pid: number): Promise<void> {
  const isSame = () => {
    const [reading] = readings.at(pid);
    return reading === readings.at(pid)[0];
  };
  await waitFor(isSame, 5_000, 'the shell to sleep');
}

test('a process that sleeps is read once, and again after it has opened a file', async () => {
  const { pid, child } = await shell();
  try {
    await carryOut(child, ':');
    const readings = new Readings();
    await untilRemembered(readings, pid);
    const [before] = readings.at(pid);
    expect(readings.at(pid)[0]).toBe(before);
    const mountId = placeAt(directory)?.mountId ?? 0;
    await carryOut(child, `exec 9>> ${directory}/file`);
    const bits = () => (readings.at(pid)[0]?.holdings.get(mountId) ?? 0) & holds.forWriting;
    expect(bits()).toBe(holds.forWriting);
    await carryOut(child, 'exec 9>&-');
    expect(bits()).toBe(0);
    await carryOut(child, `cd ${directory}`);
    const held = (readings.at(pid)[0]?.holdings.get(mountId) ?? 0) & holds.directory;
    expect(held).toBe(holds.directory);
  } finally {
    child.kill('SIGKILL');
  }
});

test('what was remembered of a process is forgotten with it', async () => {
  const { pid, child } = await shell();
  const readings = new Readings();
  await untilRemembered(readings, pid);
  const [before] = readings.at(pid);
  readings.keep([pid]);
  expect(readings.at(pid)[0]).toBe(before);
  readings.keep([]);
  expect(readings.at(pid)[0]).not.toBe(before);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(readings.at(pid)).toEqual([]);
});

test('threads of one process that see and hold the same are one reading', () => {
  const readings = new Readings().at(process.pid);
  expect(readings.map(({ tid }) => tid)).toEqual([undefined]);
});
