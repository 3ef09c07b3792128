// The output of the berth command, run in this process against a real admin socket with volumes in
// memory and locks of two hosts.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { LockContendedError } from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { InUseError } from '../../../lib/volumes/errors.ts';
import type { AdminSocket } from '../../support/admin-socket.ts';
import { openAdminSocket } from '../../support/admin-socket.ts';
import { repository } from '../../support/berth.ts';
import { runBerth } from '../../support/berth-command.ts';
import { removedVolume } from '../../support/memory-trash.ts';
import type { MemoryVolumes } from '../../support/memory-volumes.ts';
import { leaveUncleanEnd } from '../../support/unclean-end.ts';

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

describe('output of berth lock clear --host-gone', () => {
  test('without a token, it shows the hosts that did not end their Mount, not the holder', async () => {
    const { token } = await leaveUncleanEnd(socket);
    await using _holder = await mountOn(socket.n1);
    const { exitCode, stdout } = await berth('lock clear db --host-gone');
    expect(exitCode).toBe(2);
    expect(stdout.replace(/[\d-]+T[\d:]+Z \(\d+ \w+ ago\)/g, 'TIME')).toBe(
      'HOST  MOUNTED                         TOKEN\n' +
        `n2    TIME  ${token}\n` +
        '\n' +
        'These hosts did not end their Mount of volume db, and may still write to it.\n' +
        'A host that comes back ends its Mount by itself. If the first one is gone for good:\n' +
        `  berth lock clear db --token ${token} --host-gone\n`,
    );
  });

  test('a wrong token is answered with the way to the right one', async () => {
    const { token } = await leaveUncleanEnd(socket);
    const { exitCode, stderr } = await berth(`lock clear db --token ${token + 1} --host-gone`);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`berth lock clear db --token ${token} --host-gone`);
    expect(stderr).toContain('of all volumes: berth doctor');
    expect(stderr).not.toContain('volume ls');
  });

  test('says that there is nothing, and knows no volume of a mistyped name', async () => {
    const nothing = await berth('lock clear db --host-gone');
    expect(nothing).toMatchObject({ exitCode: 3, stdout: expect.stringContaining('nothing') });
    const mistyped = await berth('lock clear nope --host-gone');
    expect(mistyped).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('volume ls') });
  });
});

describe('output of the berth command', () => {
  test('volume ls prints a table', async () => {
    expect(await berth('volume ls')).toEqual({
      exitCode: 0,
      stdout:
        'NAME  DRIVER     ACCESS  FENCING  SIZE   HELD BY  WAITING  SNAPSHOTS  LAST USED\n' +
        'db    directory  host    host     4 KiB  -        0        1          never\n',
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
        'last used     now\n' +
        'mounted here  /mnt/db for id1\n' +
        `held by       host n2 (Mount, web) since TIME, token ${lock.token}\n` +
        'snapshots     db@monday\n',
    );
  });

  test('the command prints its release', async () => {
    const { version } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8'));
    expect(await berth('--version')).toMatchObject({ exitCode: 0, stdout: `${version}\n` });
  });

  test('status prints host, release, store, volumes and locks', async () => {
    expect((await berth('status')).stdout).toBe(
      'host     n1\n' +
        'berth    0.1.0\n' +
        'store    embedded, reachable\n' +
        'volumes  1, 0 mounted here\n' +
        'locks    0 held, 0 waiting\n',
    );
  });

  test('status has one line for each server of the store', async () => {
    socket.store.kind = 'etcd';
    const facts = { version: '3.5.30', databaseBytes: 20_480 };
    socket.store.members = [
      {
        endpoint: 'e1:2379',
        name: 'm1',
        reachable: true,
        role: 'leader',
        quotaBytes: 2 ** 31,
        ...facts,
      },
      { endpoint: 'e2:2379', reachable: true, role: 'follower', leader: 'm1', ...facts },
      { endpoint: 'e3:2379', reachable: false, why: 'no answer within 0.75 s' },
      { endpoint: 'e4:2379', reachable: true, role: 'no leader', ...facts },
    ];
    const { stdout } = await berth('status');
    expect(stdout.split('\n\n')[1]).toBe(
      'MEMBER        STATE                                   VERSION  DATABASE\n' +
        'e1:2379 (m1)  leader                                  3.5.30   20 KiB of 2 GiB\n' +
        'e2:2379       follows m1                              3.5.30   20 KiB\n' +
        'e3:2379       NOT REACHABLE: no answer within 0.75 s  -        -\n' +
        'e4:2379       reachable, NO LEADER                    3.5.30   20 KiB\n',
    );
  });

  test('volume prune lists what is unused, and removes it with --yes', async () => {
    const at = '2026-01-02T03:04:05.000Z';
    await volumes.create({ name: 'old', options: {} }, { signal: new AbortController().signal });
    await volumes.create({ name: 'kept', options: {} }, { signal: new AbortController().signal });
    volumes.gates.set('kept', [{ lockName: 'mount/kept', host: 'n2', since: at }]);
    for (const name of ['old', 'kept']) volumes.lastUses.set(name, { is: 'ended', at });
    volumes.lastUses.set('db', { is: 'unknown' });
    expect((await berth('volume ls')).stdout).toMatch(/\nold .* \d+ d ago\n/);
    const { stdout } = await berth('volume prune --unused-for 12h');
    expect(stdout.replace(/\(\d+ \w+ ago\)/g, '(TIME)')).toBe(
      'NAME  DRIVER     UNUSED SINCE\n' +
        'old   directory  2026-01-02T03:04:05Z (TIME)  would be removed\n' +
        'kept  directory  2026-01-02T03:04:05Z (TIME)  kept: it is disabled by host n2\n' +
        'nothing was removed; to remove them, add --yes\n',
    );
    expect(volumes.calls).not.toContain('remove old');
    expect((await berth('volume prune --unused-for 1d --yes')).stdout).toMatch(
      /^NAME .*\nold .* removed\nkept .* kept: .*\nremoved 1 of 2\n$/,
    );
    expect(volumes.calls.filter((call) => call.startsWith('remove'))).toEqual(['remove old']);
    expect((await berth('volume prune --unused-for 99000d --yes')).stdout).toBe(
      'no volume is unused for that long\n',
    );
    expect(await berth('volume prune --unused-for long')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('Use a time of at least 1s, such as 12h or 30d.'),
    });
    expect(await berth('volume prune')).toMatchObject({ exitCode: 2 });
  });

  test('volume ls --trash, restore and discard', async () => {
    const keptUntil = '2099-01-09T03:04:05.678Z';
    socket.removed.push(removedVolume('db', 'a1', { keptUntil }), removedVolume('web', 'b2'));
    const { stdout } = await berth('volume ls --trash');
    const [headers, row] = stdout.split('\n');
    expect(headers).toMatch(/^REMOVED +DRIVER +SIZE +AT +BY +KEPT UNTIL +SNAPSHOTS$/);
    expect(row).toMatch(
      /^db@a1 +directory +1 MiB +2026-01-02T03:04:05Z +n2 +2099-01-09T03:04:05Z +0$/,
    );
    expect(JSON.parse((await berth('volume ls --trash --json')).stdout)).toMatchObject([
      { volume: 'db', id: 'a1', bytes: 2 ** 20, snapshots: [] },
      { volume: 'web', id: 'b2' },
    ]);
    expect(await berth('volume restore db@other')).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining(
        'db@other is not in the trash; there are: db@a1 (removed at 2026-01-02T03:04:05.678Z)',
      ),
    });
    expect(await berth('volume restore db@')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('Use VOLUME, VOLUME@ID or VOLUME@TIME.'),
    });
    expect((await berth('volume restore db@2026-01-02T03:04:05Z --as copy')).stdout).toMatch(
      /^copy is back: db@a1, removed at 2026-01-02T03:04:05Z \(.* ago\)\n$/,
    );
    expect((await berth('volume discard web@b2')).stdout).toBe('deleted web@b2\n');
    expect(await berth('volume discard web@b2')).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining('web@b2 is not in the trash; use VOLUME@ID'),
    });
    expect(socket.removed).toEqual([]);
    const { stdout: off } = await berth('volume ls --trash');
    expect(off).toBe(
      'the trash is off: this host deletes what it removes at once, except volumes with keep=; ' +
        'to keep it for a week: berth serve --trash 7d, or -o keep=7d for one volume\n',
    );
    const { exitCode, stderr } = await berth('volume restore gone');
    expect([exitCode, stderr]).toEqual([
      3,
      'berth: volume gone is not in the trash\n  list the removed volumes: berth volume ls --trash\n',
    ]);
  });

  test('a refusal advises to clear a lock only if it names the holder of one', async () => {
    volumes.faults.remove = () => {
      throw new InUseError('volume db is protected from removal');
    };
    expect(await berth('volume rm db')).toMatchObject({
      exitCode: 4,
      stderr: 'berth: volume db is protected from removal\n',
    });
    const cause = new LockContendedError(['mount/db'], [(await mountOn(socket.n2)).ticket]);
    volumes.faults.remove = () => {
      throw new InUseError('volume db is in use: mounted on host n2', { cause });
    };
    expect((await berth('volume rm db')).stderr).toContain(
      '  if that host is dead: berth lock clear db\n',
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
    [
      'volume set db on-lost=stop protect=yes',
      'db: access=host failover=auto on-lost=pause protect=no\n',
      'set db {"on-lost":"stop","protect":"yes"}',
    ],
    ['copy db db2', 'copied db to db2\n', 'copy db db2'],
    ['copy db@monday db2', 'copied db@monday to db2\n', 'copy db@monday db2'],
  ])('%s', async (commandLine, stdout, call) => {
    expect(await berth(commandLine)).toEqual({ exitCode: 0, stdout, stderr: '' });
    expect(volumes.calls.at(-1)).toBe(call);
  });

  test('snapshot create without a name makes one up', async () => {
    expect((await berth('snapshot create db')).stdout).toMatch(/^db@auto-\d+\n$/);
    expect((await berth('snapshot ls db')).stdout).toMatch(
      /^SNAPSHOT +CREATED +SIZE +OF +PARENT\ndb@monday +2026-.* + 3 MiB +one moment +-\ndb@auto-\d+ +2026-.* + 3 MiB +one moment +-\n$/,
    );
  });

  test('copy prints its progress only on a terminal', async () => {
    const { stderr, stdout } = await berth('copy db db2', { isTTY: true });
    expect(stderr.split('\r\u001b[K')).toEqual(
      expect.arrayContaining(['100 % (1 KiB of 1 KiB, 2 of 2 files)', '']),
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
    'volume set db access=host',
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

describe("output of berth volume ls with records that can't be used", () => {
  test('security E2: shows them beside the others, and nothing that would change the terminal', async () => {
    const why = 'name: \u001b[2J\u202eis no name';
    volumes.unreadableVolumes = [{ name: 'odd', key: 'volumes/odd', isNewer: false, why }];
    const { exitCode, stdout } = await berth('volume ls');
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^db +directory/m);
    expect(stdout).toMatch(/^odd +UNREADABLE$/m);
    expect(stdout).toContain("odd can't be used: name: \uFFFD[2J\uFFFDis no name\n");
    const json = await berth('volume ls --json');
    expect(JSON.parse(json.stdout)).toEqual([
      expect.objectContaining({ name: 'db', driver: 'directory' }),
      { name: 'odd', key: 'volumes/odd', isNewer: false, why, unreadable: true },
    ]);
  });
});
