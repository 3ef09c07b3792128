// Snapshots and copies by calls to the plugin's socket, on both drivers, with real containers.
import { expect, test } from '@jest/globals';
import { describePlugged, mixedVariants } from '../../support/plugged-host.ts';

const kinds = [
  ['directory', []],
  ['image', ['-o', 'driver=image', '-o', 'size=64M']],
] as const;

describePlugged('copies', { variants: mixedVariants, requirements: ['loop'] }, (on) => {
  test.each(kinds)(
    'a snapshot keeps its moment, and a copy changes independently (%s)',
    async (db, options) => {
      const { call, docker, run, start, inspect, left } = on();
      const [old, now, third] = [`${db}-old`, `${db}-now`, `${db}-third`];
      await docker('volume', 'create', '-d', 'berth', ...options, db);
      await start('writer', '-v', `${db}:/p`);
      await docker('exec', 'writer', 'sh', '-c', 'echo monday > /p/file');
      expect(await call('Snapshot', { Name: db, Snapshot: 'monday' })).toEqual(done);
      expect(await call('Snapshot', { Name: db, Snapshot: 'monday' })).toMatchObject({
        status: 500,
        body: { Err: expect.stringContaining('has a snapshot monday already') },
      });
      await docker('exec', 'writer', 'sh', '-c', 'echo tuesday > /p/file');
      expect(await call('Copy', { Name: db, Snapshot: 'monday', Target: old })).toEqual(done);
      // A copy of the volume's present state, while a container uses it.
      expect(await call('Copy', { Name: db, Target: now })).toEqual(done);
      await docker('volume', 'create', '-d', 'berth', '-o', `from=${db}@monday`, third);

      expect(await docker('exec', 'writer', 'cat', '/p/file')).toBe('tuesday');
      expect(await run(['-v', `${old}:/p`], 'cat /p/file; echo changed > /p/file')).toBe('monday');
      expect(await run(['-v', `${now}:/p`], 'cat /p/file')).toBe('tuesday');
      expect(await run(['-v', `${third}:/p`], 'cat /p/file')).toBe('monday');
      expect(await inspect(old, '{{.Status.from}}')).toBe(`${db}@monday`);
      expect(await inspect(db, '{{(index .Status.snapshots 0).name}}')).toBe('monday');

      await docker('rm', '-f', 'writer');
      await docker('volume', 'rm', old, now, third);
      expect(await call('Remove', { Name: db })).toMatchObject({
        status: 500,
        body: {
          Err: expect.stringContaining(`${db} has snapshots: ${db}@monday; remove them first`),
        },
      });
      expect(await call('Copy', { Name: db, Target: db })).toMatchObject({ status: 500 });
      expect(await left()).toMatchObject({ mounts: [], locks: [] });
    },
  );

  test('a copy does not replace an existing volume', async () => {
    const { call, docker, run, left } = on();
    await docker('volume', 'create', '-d', 'berth', 'one');
    await docker('volume', 'create', '-d', 'berth', 'two');
    await run(['-v', 'two:/p'], 'echo two > /p/file');
    expect(await call('Copy', { Name: 'one', Target: 'two' })).toMatchObject({
      status: 500,
      body: { Err: expect.stringContaining('two exists already; a copy needs a new name') },
    });
    expect(await run(['-v', 'two:/p'], 'cat /p/file')).toBe('two');
    await docker('volume', 'rm', 'one', 'two');
    expect(await left()).toMatchObject({ mounts: [], locks: [] });
  });
});

const done = { status: 200, body: { Err: '' } };
