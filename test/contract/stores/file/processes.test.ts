// The file store used by several real processes, also across PID namespaces; real time.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { fileStore } from '../../../../lib/lock/stores/file/store.ts';
import { startProcess } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { fileDirectory, holdTurn } from '../../bench/file-directory.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';
import { StoreProcess, workerPath } from '../../store/process.ts';
import { storeProcessContract } from '../../store/process-contract.ts';

const execute = promisify(execFile);
const storeModule = import.meta.resolve('../../../../lib/lock/stores/file/store.ts');

describeWith(['flock'], 'the file store with real processes', () => {
  storeProcessContract('file', fileDirectory);

  test('S45 shows its held locks to the tools of the system', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    await using holder = await StoreProcess.start('file', place.path);
    await holder.run({ name: 'hold', lock: 'db', resumable: false });
    const [ticket] = await store.tickets('db');
    const path = join(place.path, 'sessions', ticket?.session ?? '');
    const inode = statSync(path).ino;
    expect(await locksByInode()).toContainEqual({ inode, type: 'FLOCK', mode: 'WRITE' });
    // The process that has the file open holds the lock, as `fuser` and `lsof` show.
    const open = readdirSync(`/proc/${holder.pid}/fd`).map((name) =>
      readlinkSync(`/proc/${holder.pid}/fd/${name}`),
    );
    expect(open).toContain(path);
    await holder.kill();
    expect((await locksByInode()).map((lock) => lock.inode)).not.toContain(inode);
  });

  test('that are late to end the turn of a dead one leave the turn of another alone', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    await store.health();
    const now = join(place.path, 'turn/now');
    writeFileSync(now, '');
    const slow = await slowFlock(place.root);
    await using late = startProcess('node', [workerPath, 'file', place.path, 'hold'], {
      env: { PATH: slow.searchPath },
    });
    await eventually(() => expect(existsSync(slow.started)).toBe(true));
    // Meanwhile another one ends it, and takes the turn.
    rmSync(now);
    const other = holdTurn(place.path);
    const { ino } = statSync(now);
    await writeFile(slow.mayGoOn, '');
    await eventually(() => expect(existsSync(slow.ended)).toBe(true));
    expect(await store.tickets()).toEqual([]);
    expect(statSync(now).ino).toBe(ino);
    other[Symbol.dispose]();
    await eventually(async () => expect(await store.tickets('db')).toHaveLength(1));
    late.kill('SIGKILL');
    await late.finished;
  });

  test('reports that the program flock is missing', async () => {
    await using place = await fileDirectory();
    const run = execute(process.execPath, [workerPath, 'file', place.path, 'watch'], {
      env: { PATH: place.root },
    });
    await expect(run).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /StoreUnavailableError: the program flock of util-linux does not run/,
      ),
    });
  });
});

describeWith(['root', 'flock'], 'the file store of another user', () => {
  test('refuses a step of a process that may only read, which changes nothing', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    await (await clientOf(store, 'n1')).hold('db');
    await execute('chmod', ['-R', 'a+rX', place.root]);
    const state = join(place.path, 'state.json');
    const before = statSync(state).ino;
    const script = `
      const { fileStore } = await import(${JSON.stringify(storeModule)});
      process.setgroups([]);
      process.setgid(65534);
      process.setuid(65534);
      const store = await fileStore({ directory: process.argv[1] });
      process.stdout.write(String((await store.tickets()).length));
      await store.closeGate({ lockName: 'db', host: 'n2', since: '', why: '' });`;
    const args = ['--input-type=module', '--eval', script, place.path];
    await expect(execute(process.execPath, args)).rejects.toMatchObject({
      stdout: '1',
      stderr: expect.stringMatching(
        /StoreUnavailableError: the lock directory .* can't be used: this user may not read and write there/,
      ),
    });
    expect(statSync(state).ino).toBe(before);
    await store.closeGate({ lockName: 'db', host: 'n1', since: '2026-01-02T03:04:05Z', why: 'x' });
  });
});

describeWith(['root', 'flock'], 'the file store across PID namespaces', () => {
  const separate = ['--mount-proc', '--propagation', 'slave'];
  const container = ['unshare', '--pid', '--fork', '--kill-child', ...separate];

  test('frees the locks of a process in a PID namespace that nobody else sees', async () => {
    await using place = await fileDirectory();
    await using store = await fileStore({ directory: place.path });
    const mirror = new StoreMirror();
    using _ = store.watch(mirror);
    const client = await clientOf(store, 'n1');
    await using holder = await StoreProcess.start('file', place.path, container);
    await holder.run({ name: 'hold', lock: 'db', resumable: false });
    expect(await client.tryEnqueue('db')).toMatchObject({ state: 'refused' });
    await eventually(() => expect(mirror.tickets).toHaveLength(1));
    await holder.kill();
    await eventually(() => expect(mirror.tickets).toHaveLength(0), 2000);
    await client.hold('db');
  });

  test('tells a live holder from a dead one that it can not see', async () => {
    await using place = await fileDirectory();
    await using holder = await StoreProcess.start('file', place.path);
    await holder.run({ name: 'hold', lock: 'db', resumable: false });
    await using inside = await StoreProcess.start('file', place.path, container);
    expect(await inside.run({ name: 'try', lock: 'db' })).toBe('refused');
    await holder.kill();
    expect(await inside.run({ name: 'try', lock: 'db' })).toBe('granted');
    expect(await inside.run({ name: 'try', lock: 'db' })).toBe('refused');
  });
});

/** Makes a program `flock` that waits before it looks at the lock of a dead process. */
async function slowFlock(directory: string) {
  const path = (name: string) => join(directory, name);
  const [started, mayGoOn, ended] = [path('started'), path('go-on'), path('ended')];
  const wait = `touch "${started}"; until [ -e "${mayGoOn}" ]; do sleep 0.01; done`;
  const system = `PATH="${process.env.PATH}" flock "$@"`;
  const script = `#!/bin/sh
case "$*" in
  "-x -n 3") ${wait}; ${system}; code=$?; touch "${ended}"; exit $code ;;
  *) ${system} ;;
esac
`;
  await mkdir(path('bin'));
  await writeFile(path('bin/flock'), script, { mode: 0o700 });
  return { started, mayGoOn, ended, searchPath: `${path('bin')}:${process.env.PATH}` };
}

async function locksByInode() {
  const columns = ['--json', '--output', 'INODE,TYPE,MODE'];
  const { stdout } = await execute('lslocks', columns);
  return z
    .object({
      locks: z.array(z.object({ inode: z.number(), type: z.string(), mode: z.string() })),
    })
    .parse(JSON.parse(stdout)).locks;
}
