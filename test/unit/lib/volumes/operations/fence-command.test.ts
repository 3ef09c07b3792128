// Fence commands are real programs: one that ends the host, one that fails, one that hangs.

import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { never } from '../../../../../lib/running/never.ts';
import { FenceCommand } from '../../../../../lib/volumes/operations/fence-command.ts';
import { EventLog } from '../../../../../plugin/events/event-log.ts';
import { eventually } from '../../../../support/eventually.ts';
import type { TemporaryDirectory } from '../../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

const former = {
  ...{ host: 'n1', owner: 'machine.n1', addresses: ['10.0.0.1', 'fe80::1'], mark: 'mark-1' },
  ...{ token: 7, since: '2026-01-02T03:04:05.000Z' },
};

let directory: TemporaryDirectory;
let events: EventLog;

beforeEach(async () => {
  directory = await makeTemporaryDirectory();
  events = new EventLog();
});
afterEach(async () => directory[Symbol.asyncDispose]());

async function command(script: string, limits: { runMs?: number; patienceMs?: number } = {}) {
  const program = join(directory.path, 'fence');
  await writeFile(program, `#!/bin/sh\ncd ${directory.path}\n${script}\n`);
  await chmod(program, 0o755);
  const { runMs = 30_000, patienceMs = 30_000 } = limits;
  return new FenceCommand({ program, events, limits: { runMs, patienceMs, pauseMs: 20 } });
}

const seen = (name: string) => readFile(join(directory.path, name), 'utf8');
const told = () => events.since(0).map(({ severity, message }) => `${severity} ${message}`);

test('gets the former host as arguments and variables; exit code 0 ends the wait', async () => {
  const fence = await command('echo "$@" > args; env | grep ^BERTH_ | sort > env');
  await fence.end('db', former, never);
  expect(await seen('args')).toBe('n1 db 7\n');
  expect(await seen('env')).toBe(
    'BERTH_FENCE_ADDRESSES=10.0.0.1 fe80::1\nBERTH_FENCE_HOST=n1\n' +
      'BERTH_FENCE_IDENTITY=machine.n1\nBERTH_FENCE_SINCE=2026-01-02T03:04:05.000Z\n' +
      'BERTH_FENCE_TOKEN=7\nBERTH_FENCE_VOLUME=db\n',
  );
  expect(told()).toEqual([expect.stringMatching(/^info .* has confirmed that host n1/)]);
  expect(fence.waiting()).toEqual([]);
});

test('is repeated until it exits with 0', async () => {
  const fence = await command(
    'echo x >> runs; echo "no power switch" >&2; test $(wc -l < runs) = 3',
  );
  await fence.end('db', former, never);
  expect(await seen('runs')).toBe('x\nx\nx\n');
  expect(told()).toEqual([
    expect.stringMatching(/^warning .*no power switch \(exit code 1\); it is repeated/),
    expect.stringMatching(/^info /),
  ]);
});

test('one that only fails makes the Mount fail with what it said, and is shown meanwhile', async () => {
  const fence = await command('echo broken >&2; exit 3', { patienceMs: 2_000 });
  const ending = fence.end('db', former, never);
  expect(fence.waiting()).toEqual([expect.stringMatching(/^the Mount of volume db waits for/)]);
  const last = /host n1.* has not confirmed.*broken \(exit code 3\)/;
  await expect(ending).rejects.toThrow(last);
  expect(told()).toEqual([expect.stringMatching(/^warning .*broken \(exit code 3\)/)]);
  expect(fence.waiting()).toEqual([]);
});

test('a last run that the end of the patience cuts does not hide what the command said', async () => {
  const script =
    'echo x >> runs; test $(wc -l < runs) = 1 || exec sleep 300; echo broken >&2; exit 3';
  const fence = await command(script, { patienceMs: 2_000 });
  await expect(fence.end('db', former, never)).rejects.toThrow(/broken \(exit code 3\)/);
});

test('one that hangs is ended with all its processes, and counts as failed', async () => {
  const fence = await command('sleep 300 & echo $! > pid; wait', { runMs: 300, patienceMs: 500 });
  await expect(fence.end('db', former, never)).rejects.toThrow(/did not end within 0.\d+ s/);
  const pid = Number(await seen('pid'));
  await eventually(async () => expect(() => process.kill(pid, 0)).toThrow('ESRCH'));
});

test('one that is not there is named', async () => {
  const fence = new FenceCommand({
    ...{ program: '/nowhere/fence', events },
    limits: { runMs: 1_000, patienceMs: 100, pauseMs: 20 },
  });
  await expect(fence.end('db', former, never)).rejects.toThrow(/\/nowhere\/fence/);
});

test('ends with its caller', async () => {
  const fence = await command('echo $$ > pid; exec sleep 300');
  const caller = new AbortController();
  const ending = fence.end('db', former, caller.signal);
  await eventually(async () => expect(await seen('pid')).toMatch(/\d/));
  caller.abort(new Error('the engine has gone'));
  await expect(ending).rejects.toThrow('the engine has gone');
  const pid = Number(await seen('pid'));
  await eventually(async () => expect(() => process.kill(pid, 0)).toThrow('ESRCH'));
});
