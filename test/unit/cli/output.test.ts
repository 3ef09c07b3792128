// The output of the berth command, run in this process against a real admin socket with volumes in
// memory and locks of two hosts.

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import { runBerth } from '../../support/berth-command.ts';
import type { MemoryVolumes } from '../../support/memory-volumes.ts';

let socket: AdminSocket;
let volumes: MemoryVolumes;
const neverAborted = { signal: new AbortController().signal };

beforeEach(async () => {
  socket = await openAdminSocket();
  ({ volumes } = socket);
  await volumes.create({ name: 'db', options: { size: '4096' } }, neverAborted);
  await volumes.snapshot({ volume: 'db', snapshot: 'monday' }, neverAborted);
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

const berth = (commandLine: string, options: { path?: string; isTTY?: boolean } = {}) =>
  runBerth(commandLine, { path: socket.path, ...options });

const mountOn = (manager: LockManager) =>
  manager.lock([{ name: 'mount/db', mode: 'exclusive' }], { reason: 'Mount', detail: 'web' });

describe('output of the berth command', () => {
  test('volume ls prints a table', async () => {
    expect(await berth('volume ls')).toEqual({
      exitCode: 0,
      stdout:
        'NAME  DRIVER     ACCESS  FENCING  SIZE   HELD BY  WAITING  SNAPSHOTS\n' +
        'db    directory  host    host     4 KiB  -        0        1\n',
      stderr: '',
    });
  });

  test('volume inspect prints the properties of a volume', async () => {
    await volumes.mount('db', 'id1', neverAborted);
    await using lock = await mountOn(socket.n2);
    volumes.tickets.set('db', [lock.ticket]);
    const { exitCode, stdout } = await berth('volume inspect db');
    expect(exitCode).toBe(0);
    expect(stdout.replace(/[\d-]+T[\d:]+Z \(\d+ \w+ ago\)/g, 'TIME')).toBe(
      'name          db\n' +
        'driver        directory\n' +
        'access        host\n' +
        'failover      auto\n' +
        'on lost       pause\n' +
        'fencing       host: in memory\n' +
        'size          4 KiB\n' +
        'used          1 KiB\n' +
        'options       size=4096\n' +
        'created       TIME on n1\n' +
        'mounted here  /mnt/db for id1\n' +
        `held by       host n2 (Mount, web) since TIME, token ${lock.token}\n` +
        'snapshots     db@monday\n',
    );
  });

  test('status prints host, store, volumes and locks', async () => {
    expect((await berth('status')).stdout).toBe(
      'host     n1\n' +
        'store    embedded, reachable\n' +
        'volumes  1, 0 mounted here\n' +
        'locks    0 held, 0 waiting\n',
    );
  });

  test('status prints the conditions', async () => {
    socket.conditions.push(
      { severity: 'error', message: 'the disk is full' },
      { severity: 'warning', message: 'two members are away' },
    );
    expect((await berth('status')).stdout).toMatch(
      /\nlocks .*\n\nerror: the disk is full\nwarning: two members are away\n$/,
    );
    expect(JSON.parse((await berth('status --json')).stdout)).toMatchObject({
      conditions: [{ severity: 'error' }, { severity: 'warning' }],
    });
  });

  test('lock ls and lock inspect print the holders', async () => {
    await using lock = await mountOn(socket.n2);
    const { exitCode, stdout } = await berth('lock ls');
    expect(exitCode).toBe(0);
    const [headers, row] = stdout.split('\n');
    expect(headers).toMatch(
      /^VOLUME {2}LOCKS {2}STATE {2}HOST {2}REASON {2}SINCE +TOKEN {2}DETAIL$/,
    );
    expect(row).toMatch(
      new RegExp(`^db {6}mount  held   n2    Mount   .*Z \\(\\d+ s ago\\)  ${lock.token} +web$`),
    );
    expect((await berth('lock inspect db')).stdout).toBe(stdout);
    expect(JSON.parse((await berth('lock ls --json')).stdout)).toMatchObject({
      tickets: [{ host: 'n2', state: 'held', token: lock.token }],
      gates: [],
    });
  });

  test("lock disable and lock enable print the volume's state", async () => {
    const withoutTimes = async (commandLine: string) => {
      const { exitCode, stdout, stderr } = await berth(commandLine);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      return stdout.replace(/[\d-]+T[\d:]+Z \(\d+ \w+ ago\)/g, 'TIME').replace(/ +/g, ' ');
    };
    const said = 'volume db is disabled by host n1 since TIME: upgrade\n';
    expect(await withoutTimes('lock disable db --why upgrade')).toBe(said);
    expect(await withoutTimes('lock disable db --why other')).toBe(said);
    const gates =
      'DISABLED LOCKS BY SINCE WHY\n' + //
      'db mount+snapshot n1 TIME upgrade\n';
    expect(await withoutTimes('lock inspect db')).toBe(`nobody holds volume db\n\n${gates}`);
    expect(await withoutTimes('lock ls')).toBe(
      `VOLUME LOCKS STATE HOST REASON SINCE TOKEN DETAIL\n\n${gates}`,
    );
    volumes.gates.set('db', await socket.n2.gates());
    expect(await withoutTimes('volume inspect db')).toContain(
      'disabled by host n1 since TIME: upgrade\n',
    );
    const json = await berth('lock disable db --json');
    expect(JSON.parse(json.stdout)).toMatchObject({ volume: 'db', host: 'n1', why: 'upgrade' });

    expect(await withoutTimes('lock enable db')).toBe('volume db is enabled\n');
    expect((await berth('lock inspect db')).stdout).toBe('nobody holds volume db\n');
    const enabled = await berth('lock enable db --json');
    expect(JSON.parse(enabled.stdout)).toEqual({ enabled: 'db' });
  });

  test.each<[commandLine: string, stdout: string, call: string]>([
    ['snapshot create db@tuesday', 'db@tuesday\n', 'snapshot db@tuesday'],
    ['snapshot rm db@monday', 'removed db@monday\n', 'removeSnapshot db@monday'],
    ['snapshot restore db@monday', 'restored db@monday\n', 'restoreSnapshot db@monday'],
    ['copy db db2', 'copied db to db2\n', 'copy db db2'],
    ['copy db@monday db2', 'copied db@monday to db2\n', 'copy db@monday db2'],
  ])('%s', async (commandLine, stdout, call) => {
    expect(await berth(commandLine)).toEqual({ exitCode: 0, stdout, stderr: '' });
    expect(volumes.calls.at(-1)).toBe(call);
  });

  test('snapshot create without a name makes one up', async () => {
    expect((await berth('snapshot create db')).stdout).toMatch(/^db@auto-\d+\n$/);
    expect((await berth('snapshot ls db')).stdout).toMatch(
      /^SNAPSHOT +CREATED\ndb@monday +2026-.*\ndb@auto-\d+ +2026-.*\n$/,
    );
  });

  test('copy prints its progress only on a terminal', async () => {
    const { stderr, stdout } = await berth('copy db db2', { isTTY: true });
    expect(stderr.split('\r\u001b[K')).toEqual(
      expect.arrayContaining(['100 % (1 KiB of 1 KiB)', '']),
    );
    expect(stdout).toBe('copied db to db2\n');
    expect((await berth('copy db db3')).stderr).toBe('');
  });

  test('copy prints whom it waits for', async () => {
    await using lock = await mountOn(socket.n2);
    volumes.faults.copy = (context) => context?.onWait?.([lock.ticket]);
    expect((await berth('copy db db2')).stderr).toMatch(
      /^waiting for host n2 \(Mount, web\) since/,
    );
  });

  test.each([
    'status',
    'volume ls',
    'volume inspect db',
    'snapshot ls db',
    'snapshot create db',
    'snapshot rm db@monday',
    'copy db db2',
    'lock ls',
    'lock inspect db',
  ])('%s --json prints JSON', async (commandLine) => {
    const { exitCode, stdout, stderr } = await berth(`${commandLine} --json`);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(() => JSON.parse(stdout)).not.toThrow();
  });
});

describe('lock clear', () => {
  test('without a token it shows the holder and the command to type', async () => {
    await using lock = await mountOn(socket.n2);
    const { exitCode, stdout } = await berth('lock clear db');
    expect(exitCode).toBe(2);
    expect(stdout).toMatch(/held +n2 +Mount/);
    expect(stdout).toContain(`  berth lock clear db --token ${lock.token}\n`);
    lock.throwIfLost();
  });

  test('the lock of a living holder is cleared only with --force', async () => {
    const { token } = await mountOn(socket.n2);
    const refused = await berth(`lock clear db --token ${token}`);
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toMatch(/^berth: the holder of volume db is alive: host n2/);
    const cleared = await berth(`lock clear db --token ${token} --force`);
    expect(cleared).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^cleared the lock of host n2 \(Mount, web\)/),
    });
    expect(await socket.n2.inspect('mount/db')).toEqual([]);
  });

  test('an unknown token is refused', async () => {
    expect(await berth('lock clear db --token 99')).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining('has no lock with token 99; nobody holds it now'),
    });
  });

  test('a volume that no host holds is refused', async () => {
    expect(await berth('lock clear db')).toMatchObject({ exitCode: 3 });
    expect(await berth('lock clear nope')).toMatchObject({ exitCode: 3 });
  });
});
