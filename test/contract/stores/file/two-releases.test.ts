// A lock directory of the release before, and its processes beside this release's: real processes and `flock`, real time.
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { fileStore } from '../../../../lib/lock/stores/file/store.ts';
import { checkOut } from '../../../support/earlier-release.ts';
import { runOk, startProcess, waitFor } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { fileDirectory, holdMutex } from '../../bench/file-directory.ts';
import { manager } from '../../bench/manager-bench.ts';
import { clientOf, exclusive } from '../../bench/store-bench.ts';

const program = join(import.meta.dirname, '../earlier-locks.ts');

describeWith(['history', 'flock'], 'a lock directory of the release before', () => {
  let before: TemporaryDirectory;
  beforeAll(async () => {
    before = await checkOut('before');
  });
  afterAll(async () => before[Symbol.asyncDispose]());
  const args = (work: string, path: string) => [program, before.path, work, 'file', path];

  test('is taken over when no process of that release has a session in it, and that release ends then', async () => {
    await using place = await fileDirectory();
    await using old = startProcess('node', args('hold', place.path));
    await waitFor(() => old.output().includes('granted'), 20_000, 'it to be granted the lock');
    await using store = await fileStore({ directory: place.path });
    const [held] = await store.tickets('pool');
    expect(held).toMatchObject({ owner: 'old' });
    const text = readFileSync(join(place.path, 'state.json'), 'utf8');
    const inTheWay =
      /processes of berth 0\.1\.0 have sessions .* process \d+ \(old, here since 2.*\); end them/;
    await expect(clientOf(store, 'n1')).rejects.toThrow(inTheWay);
    // A request without a limit does not wait for a person, and leaves no file of a session.
    {
      await using locks = manager(store, 'n1');
      await expect(locks.lock([exclusive('other')])).rejects.toThrow(inTheWay);
    }
    expect(readdirSync(join(place.path, 'sessions'))).toHaveLength(1);
    // What another process has left does not keep the directory from being opened and read.
    writeFileSync(join(place.path, 'sessions', randomUUID()), '');
    await using second = await fileStore({ directory: place.path });
    expect(await second.tickets('pool')).toEqual([held]);
    expect(readFileSync(join(place.path, 'state.json'), 'utf8')).toBe(text);

    old.kill('SIGTERM');
    expect((await old.finished).code).toBe(0);
    const next = await (await clientOf(store, 'n1')).hold('pool');
    expect(next.token).toBeGreaterThan(held?.token ?? Number.POSITIVE_INFINITY);
    await expect(runOk('node', args('try', place.path))).rejects.toThrow(
      /state\.json has format 2, which a newer version of berth wrote/,
    );
    expect(await store.tickets()).toEqual([next]);
  });

  test("is that release's again after a person has written its number of the format", async () => {
    await using place = await fileDirectory();
    {
      await using store = await fileStore({ directory: place.path });
      const held = await (await clientOf(store, 'n1')).hold('db');
      await store.commit({
        guards: [held],
        writes: [{ key: 'key', value: 'kept' }],
        release: [],
      });
    }
    const path = join(place.path, 'state.json');
    const text = readFileSync(path, 'utf8');
    expect(text).toMatch(/^\{"format":2,/);
    writeFileSync(path, text.replace('"format":2', '"format":1'));
    expect(JSON.parse(await runOk('node', args('try', place.path)))).toMatchObject({
      granted: ['exclusive', 'shared'],
    });
    await using store = await fileStore({ directory: place.path });
    expect(await store.record('key')).toMatchObject({ value: 'kept' });
    await clientOf(store, 'n1');
    expect(readFileSync(path, 'utf8')).toMatch(/^\{"format":2,/);
  });

  test('is taken over after the death of a process of that release', async () => {
    await using place = await fileDirectory();
    await using old = startProcess('node', args('hold', place.path));
    await waitFor(() => old.output().includes('granted'), 20_000, 'it to be granted the lock');
    old.kill('SIGKILL');
    await old.finished;
    await using store = await fileStore({ directory: place.path });
    await (await clientOf(store, 'n1')).hold('pool');
  });

  test('is not changed while a process of that release has its turn', async () => {
    await using place = await fileDirectory();
    await runOk('node', args('try', place.path));
    await using store = await fileStore({ directory: place.path });
    {
      using _ = holdMutex(place.path);
      await expect(clientOf(store, 'n1')).rejects.toThrow(
        /a process of berth 0\.1\.0 keeps .*mutex locked; fuser -v names it/,
      );
    }
    await (await clientOf(store, 'n1')).hold('pool');
  });
});
