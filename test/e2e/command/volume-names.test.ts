// `berth volume create`, `rename` and `rm` beside a real engine and a real Podman: what their containers see.
import { expect, test } from '@jest/globals';
import { startBerth } from '../../support/berth.ts';
import { startHost } from '../../support/host.ts';
import { preparePodman } from '../../support/podman.ts';
import { describeWith } from '../../support/requirements.ts';

describeWith(['docker', 'loop', 'podman'], 'volumes by the berth command', () => {
  test('clients F7: are those of Docker and Podman, and containers do not follow a rename', async () => {
    await using host = await startHost({ docker: '26.1' });
    await using daemon = await startBerth(host);
    const { berth, berthOk } = daemon;
    const { docker, dockerOk } = host;
    const run = (volume: string, command: string) =>
      dockerOk('run', '--rm', '-v', `${volume}:/data`, 'busybox', 'sh', '-c', command);
    const image = ['-o', 'driver=image', '-o', 'size=32M', '-o', 'access=host'];
    expect(await berthOk('volume', 'create', ...image, 'db')).toBe('db');
    await berthOk('volume', 'create', 'db', '-o', 'size=32M');
    const other = await berth('volume', 'create', 'db', '-o', 'size=64M');
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('size=')]);
    expect(await dockerOk('volume', 'inspect', '-f', '{{.Driver}}', 'db')).toBe('berth');
    await run('db', 'echo row > /data/table; sleep 0.1');
    await berthOk('snapshot', 'create', 'db@monday');

    // Refused while a container uses it, by name.
    const sleeping = ['run', '-d', '--name', 'web', '-v', 'db:/data', 'busybox', 'sleep', '1000'];
    await dockerOk(...sleeping);
    const used = await berth('volume', 'rename', 'db', 'sales');
    expect([used.code, used.stderr]).toEqual([4, expect.stringMatching(/mounted on host/)]);
    expect((await berth('volume', 'rm', 'db')).code).toBe(4);
    await dockerOk('stop', '-t', '0', 'web');

    const renamed = await berthOk('volume', 'rename', 'db', 'sales');
    expect(renamed).toMatch(/^db is sales now\n.*containers that name db do not follow/);
    const names = await dockerOk('volume', 'ls', '-q');
    expect(names.split('\n')).toEqual(['sales']);
    expect(await run('sales', 'cat /data/table')).toBe('row');
    const snapshots = await berthOk('snapshot', 'ls', 'sales');
    expect(snapshots).toContain('sales@monday');
    // As docs/names.md says: the container that names it is refused, a new one gets a new volume.
    const stopped = await docker('start', 'web');
    expect([stopped.code, stopped.stderr]).toEqual([1, expect.stringContaining('no such volume')]);
    await dockerOk('rm', 'web');
    const create = ['run', '--rm', '--volume-driver', 'berth', '-v', 'db:/data', 'busybox'];
    expect(await dockerOk(...create, 'ls', '/data')).toBe('');

    // Podman learns of volumes that it did not create by a reload.
    await using podman = await preparePodman(host);
    expect(await podman.podman('volume', 'reload')).toMatchObject({ code: 0 });
    expect(await podman.start('p1', 'sales')).toMatchObject({ stderr: '', code: 0 });
    const read = await podman.podman('exec', 'p1', 'cat', '/data/table');
    expect(read).toMatchObject({ code: 0, stdout: 'row\n' });
    expect((await berth('volume', 'rename', 'sales', 'db2')).code).toBe(4);
    const ended = await podman.podman('rm', '--force', '--time', '0', 'p1');
    expect(ended).toMatchObject({ stderr: '', code: 0 });

    const removed = await berth('volume', 'rm', 'sales', 'db', 'nope');
    expect([removed.code, removed.stdout]).toEqual([4, 'removed db\n']);
    expect(removed.stderr).toMatch(/has snapshots: sales@monday[\s\S]*no such volume: nope/);
    await berthOk('snapshot', 'rm', 'sales@monday');
    await berthOk('volume', 'rm', 'sales');
    expect(await dockerOk('volume', 'ls', '-q')).toBe('');
    await berthOk('doctor');
  });
});
