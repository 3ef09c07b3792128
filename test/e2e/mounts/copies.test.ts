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

  test('clients F7, bug report 17: a volume of a fixed size becomes larger under its container, and never smaller', async () => {
    const { docker, run, start, berth, inspect } = on();
    // A mounted ext4 needs CAP_SYS_RESOURCE, which not every machine has: test/contract/driver.
    const xfs = ['-o', 'driver=image', '-o', 'fs=xfs', '-o', 'size=300M'];
    await docker('volume', 'create', '-d', 'berth', ...xfs, 'small');
    const resize = (size: string) => berth.berth('volume', 'resize', 'small', size);
    const room = "df -m /p | awk 'END { print $2 }'";
    await start('user', '-v', 'small:/p');
    const roomOfUser = async () => Number(await docker('exec', 'user', 'sh', '-c', room));
    expect(await roomOfUser()).toBeLessThan(300);
    expect(await resize('400M')).toMatchObject({ code: 0, stdout: 'small has 400 MiB now\n' });
    expect(await roomOfUser()).toBeGreaterThan(320);
    expect(await resize('400M')).toMatchObject({ code: 0 });
    const smaller = await resize('350M');
    expect(smaller).toMatchObject({ code: 2 });
    expect(smaller.stderr).toContain("can't become smaller");
    expect(await inspect('small', '{{.Status.size}}')).toBe('400 MiB');
    await docker('rm', '-f', 'user');
    expect(await resize('500M')).toMatchObject({ code: 0 });
    expect(Number(await run(['-v', 'small:/p'], room))).toBeGreaterThan(420);
    await docker('volume', 'create', '-d', 'berth', 'endless');
    const endless = await berth.berth('volume', 'resize', 'endless', '1G');
    expect(endless.stderr).toContain("the directory driver can't limit the size of a volume");
  });

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
