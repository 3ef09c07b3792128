// The life of volumes as the engine sees it, and the calls that berth gets. The numbers are those
// of the engine's own tests. Real engines on both stores.
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { allVariants, describePlugged, nothing } from '../../support/plugged-host.ts';

describePlugged('volumes', { variants: allVariants }, (on) => {
  // Must be the first test, because the engine activates a plugin once in its life.
  test('scenario 2: a named volume keeps its data, and Remove deletes its storage', async () => {
    const { docker, run, proxy, volumeDir } = on();
    await run(['--volume-driver', 'berth', '-v', 's2:/p'], 'echo data > /p/file');
    const home = join(volumeDir, 'directory/s2');
    expect(await readdir(join(home, 'data'))).toEqual(['file']);
    expect(await run(['-v', 's2:/p'], 'cat /p/file')).toBe('data');
    await docker('volume', 'rm', 's2');
    expect(existsSync(home)).toBe(false);
    expect(proxy.count('Activate')).toBe(1);
    expect(proxy.count('Capabilities')).toBe(1);
    expect(changes()).toEqual(['Create', 'Mount', 'Unmount', 'Mount', 'Unmount', 'Remove']);
    expect(await on().left()).toEqual(nothing);
  });

  test('scenario 1: a name that another driver uses is refused', async () => {
    const { docker, dockerFails } = on();
    await docker('volume', 'create', '-d', 'local', 's1');
    expect(await dockerFails('volume', 'create', '-d', 'berth', 's1')).toContain('must be unique');
    await docker('volume', 'create', '-d', 'local', 's1');
    expect(changes()).toEqual([]);
    await docker('volume', 'rm', 's1');

    await docker('volume', 'create', '-d', 'berth', 's1');
    expect(await dockerFails('volume', 'create', '-d', 'local', 's1')).toContain('must be unique');
    await docker('volume', 'create', '-d', 'berth', 's1');
    expect(changes()).toEqual(['Create']);
    await docker('volume', 'rm', 's1');
  });

  test('scenario 3: an unnamed volume comes and goes with its container', async () => {
    const { run } = on();
    await run(['--volume-driver', 'berth', '-v', '/p'], 'echo data > /p/file');
    expect(changes()).toEqual(['Create', 'Mount', 'Unmount', 'Remove']);
    expect(await on().left()).toEqual(nothing);
  });

  test('scenario 4: a container can use the volumes of another', async () => {
    const { docker, run, proxy, mounted } = on();
    await docker(
      ...['run', '--name', 's4', '--volume-driver', 'berth', '-v', '/p', 'busybox'],
      ...['sh', '-c', 'echo data > /p/file'],
    );
    expect(await run(['--volumes-from', 's4'], 'cat /p/file')).toBe('data');
    expect(changes()).toEqual(['Create', 'Mount', 'Unmount', 'Mount', 'Unmount']);
    expect(await mounted()).toEqual([]);
    await docker('rm', '-fv', 's4');
    expect(proxy.count('Remove')).toBe(1);
    expect(proxy.count('Create')).toBe(1);
    expect(await on().left()).toEqual(nothing);
  });

  test('scenario 5: removing the only container of an unnamed volume removes it', async () => {
    const { docker, start, proxy } = on();
    await start('s5', '--volume-driver', 'berth', '-v', '/p');
    await docker('rm', '-fv', 's5');
    expect(proxy.count('Remove')).toBe(1);
    expect(await docker('volume', 'ls', '-q', '-f', 'driver=berth')).toBe('');
    expect(await on().left()).toEqual(nothing);
  });

  test('scenario 8: a container can use a volume without naming its driver', async () => {
    const { docker, start, inspect, call } = on();
    await docker('volume', 'create', '-d', 'berth', 's8');
    // The engine has never heard of this volume: it asks all drivers.
    await call('Create', { Name: 's8-unheard' });
    await start('s8', '-v', 's8:/p', '-v', 's8-unheard:/q');
    const drivers = '{{range .Mounts}}{{.Name}} {{.Driver}};{{end}}';
    expect((await inspect('s8', drivers)).split(';').sort()).toEqual([
      '',
      's8 berth',
      's8-unheard berth',
    ]);
    await docker('rm', '-f', 's8');
    await docker('volume', 'rm', 's8', 's8-unheard');
    expect(await on().left()).toEqual(nothing);
  });

  test('scenario 9: the list shows driver and name', async () => {
    const { docker, proxy } = on();
    await docker('volume', 'create', '-d', 'berth', 's9');
    proxy.forget();
    const listed = await docker('volume', 'ls', '--format', '{{.Driver}} {{.Name}}');
    expect(listed).toContain('berth s9');
    expect(proxy.methods()).toEqual(['List']);
    await docker('volume', 'rm', 's9');
  });

  test('scenario 10: an unknown volume is not found; docker volume inspect shows the status of a known one', async () => {
    const { docker, dockerFails, proxy, inspect } = on();
    expect(await dockerFails('volume', 'inspect', 's10')).toMatch(/no such volume/i);
    expect(proxy.methods()).toEqual(['Get']);
    await docker('volume', 'create', '-d', 'berth', 's10');
    const [volume] = JSON.parse(await docker('volume', 'inspect', 's10'));
    expect(volume).toMatchObject({
      Driver: 'berth',
      Status: {
        driver: 'directory',
        access: 'host',
        failover: 'auto',
        onLost: 'pause',
        options: { 'mount-options': 'nosuid,nodev' },
        snapshots: [],
      },
    });
    expect(Date.now() - Date.parse(volume.CreatedAt)).toBeLessThan(60_000);
    expect(volume.Mountpoint).toBe('');
    expect(await inspect('s10', '{{.Status.holder}}')).toMatch(/no value|nil/);
    await docker('volume', 'rm', 's10');
  });

  test('scenario 12: a Get that wrongly finds nothing does the volume no harm', async () => {
    const { docker, run, proxy } = on();
    await docker('volume', 'create', '-d', 'berth', 's12');
    await run(['-v', 's12:/p'], 'echo data > /p/file');
    proxy.forget();
    const none = { status: 200, body: { Volume: null, Err: '' } };
    proxy.answerNext('Get', none, none);
    await docker('volume', 'create', '-d', 'berth', 's12');
    expect(proxy.methods()).toEqual(['Get', 'Get', 'Create']);
    expect(await run(['-v', 's12:/p'], 'cat /p/file')).toBe('data');
    await docker('volume', 'rm', 's12');
  });

  test('scenarios 13 and 15: the engine never calls Path, and Capabilities at most once', async () => {
    const { docker, inspect, proxy, variant } = on();
    for (const name of ['s13a', 's13b', 's13c']) {
      await docker('volume', 'create', '-d', 'berth', name);
    }
    await docker('volume', 'ls');
    expect(proxy.count('Path')).toBe(0);
    // The engine asked for them in the first test, after its start.
    expect(proxy.count('Capabilities')).toBe(0);
    expect(await inspect('s13a', '{{.Scope}}')).toBe(variant.store === 'etcd' ? 'global' : 'local');
    await docker('volume', 'rm', 's13a', 's13b', 's13c');
  });

  test('scenario 14: each Mount has an ID, which its Unmount repeats', async () => {
    const { docker, run, proxy } = on();
    await docker('volume', 'create', '-d', 'berth', 's14');
    await run(['-v', 's14:/p', '-v', 's14:/q'], 'echo data > /p/file; cat /q/file');
    const idsOf = (method: string) =>
      proxy.calls.filter((call) => call.method === method).map(({ body }) => body?.ID);
    expect(idsOf('Mount')).toEqual([expect.stringMatching(/^\w{64}$/), expect.anything()]);
    expect(new Set(idsOf('Mount')).size).toBe(2);
    expect(idsOf('Unmount').sort()).toEqual(idsOf('Mount').sort());
    await docker('volume', 'rm', 's14');
    expect(await on().left()).toEqual(nothing);
  });

  const changes = () =>
    on()
      .proxy.methods()
      .filter((method) => ['Create', 'Remove', 'Mount', 'Unmount'].includes(method));
});
