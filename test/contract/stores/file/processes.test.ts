// The file store used by several real processes, also across PID namespaces; real time.
import { execFile } from 'node:child_process';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { fileStore } from '../../../../lib/lock/stores/file/store.ts';
import { describeWith } from '../../../support/requirements.ts';
import { fileDirectory } from '../../bench/file-directory.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';
import { StoreMirror } from '../../bench/store-mirror.ts';
import { StoreProcess, workerPath } from '../../store/process.ts';
import { storeProcessContract } from '../../store/process-contract.ts';

const execute = promisify(execFile);

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

async function locksByInode() {
  const columns = ['--json', '--output', 'INODE,TYPE,MODE'];
  const { stdout } = await execute('lslocks', columns);
  return z
    .object({
      locks: z.array(z.object({ inode: z.number(), type: z.string(), mode: z.string() })),
    })
    .parse(JSON.parse(stdout)).locks;
}
