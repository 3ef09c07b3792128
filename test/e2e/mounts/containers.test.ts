// What containers do with volumes of both drivers, on both engines: real containers and mounts.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { remappedRoot } from '../../support/host.ts';
import type { PluggedHost } from '../../support/plugged-host.ts';
import { describePlugged, embeddedVariants, nothing } from '../../support/plugged-host.ts';
import { waitFor } from '../../support/processes.ts';

const drivers = {
  directory: [],
  image: ['-o', 'driver=image', '-o', 'size=64M'],
} as const;

describePlugged('containers', { variants: embeddedVariants, requirements: ['loop'] }, (on) => {
  test.each(['directory', 'image'] as const)(
    'defect B10, scenario 18: a running container keeps its volume through docker cp (%s driver)',
    async (driver) => {
      const { docker, start, proxy, host, mounted } = on();
      const name = `s18-${driver}`;
      await docker('volume', 'create', '-d', 'berth', ...drivers[driver], name);
      await start(name, '-v', `${name}:/p`);
      await docker('exec', name, 'sh', '-c', 'echo data > /p/file');
      const id = proxy.calls.find(({ method }) => method === 'Mount')?.body?.ID;
      proxy.forget();
      const copy = join(host.directory, `copy-${driver}`);
      await docker('cp', `${name}:/p/file`, copy);
      await docker('cp', copy, `${name}:/p/copy`);
      // The engine mounts more than once, and with the ID of the container's own Mount.
      const ids = new Set(proxy.calls.map(({ body }) => body?.ID).filter(Boolean));
      expect(ids).toEqual(new Set([id]));
      expect(proxy.count('Mount')).toBeGreaterThan(1);
      expect(proxy.count('Unmount')).toBe(proxy.count('Mount'));
      expect(await docker('exec', name, 'cat', '/p/file', '/p/copy')).toBe('data\ndata');
      expect(await mounted()).toEqual([name]);
      await docker('kill', name);
      await waitFor(async () => (await mounted()).length === 0, 5_000, 'the unmount');
      expect(proxy.count('Unmount')).toBe(proxy.count('Mount') + 1);

      // docker cp also works from a stopped container.
      await docker('cp', `${name}:/p/copy`, `${copy}-2`);
      await docker('rm', name);
      await docker('volume', 'rm', name);
      expect(await on().left()).toEqual(nothing);
    },
  );

  test('row 1: two containers and two targets share one mount, which lasts until the last one ends', async () => {
    const { docker, start, mounted, store } = on();
    const shared = [...drivers.image, '-o', 'access=host'];
    await docker('volume', 'create', '-d', 'berth', ...shared, 'shared');
    await start('one', '-v', 'shared:/p', '-v', 'shared:/q');
    await start('two', '-v', 'shared:/r');
    await docker('exec', 'one', 'sh', '-c', 'echo data > /p/file');
    expect(await docker('exec', 'one', 'cat', '/q/file')).toBe('data');
    expect(await docker('exec', 'two', 'cat', '/r/file')).toBe('data');
    expect(await mounted()).toEqual(['shared']);
    expect(await store.locks()).toEqual(['mount/shared']);
    await docker('rm', '-f', 'one');
    expect(await docker('exec', 'two', 'cat', '/r/file')).toBe('data');
    expect(await mounted()).toEqual(['shared']);
    await docker('rm', '-f', 'two');
    expect(await mounted()).toEqual([]);
    await docker('volume', 'rm', 'shared');
    expect(await on().left()).toEqual(nothing);
  });

  test("a volume in use shows its user and can't be removed", async () => {
    const { docker, dockerFails, start, inspect, call, host } = on();
    await docker('volume', 'create', '-d', 'berth', 'busy');
    await start('user', '-v', 'busy:/p');
    const status = JSON.parse(await inspect('busy', '{{json .Status}}'));
    expect(status.holder).toMatchObject({ host: host.name, reason: 'Mount' });
    expect(status.mounts.ids).toEqual([expect.stringMatching(/^\w{64}$/)]);
    expect(await dockerFails('volume', 'rm', '-f', 'busy')).toContain('in use');
    // Calls the daemon itself, because the engine would refuse by itself.
    expect(await call('Remove', { Name: 'busy' })).toEqual({
      status: 500,
      body: { Err: expect.stringContaining(`mounted on host ${host.name}`) },
    });
    await docker('rm', '-f', 'user');
    await docker('volume', 'rm', 'busy');
    expect(await on().left()).toEqual(nothing);
  });

  test('a restart of a container is an Unmount and a Mount; a pause is neither', async () => {
    const { docker, start, proxy, mounted } = on();
    await docker('volume', 'create', '-d', 'berth', 'again');
    await start('again', '-v', 'again:/p');
    proxy.forget();
    await docker('pause', 'again');
    await docker('unpause', 'again');
    expect(proxy.methods()).toEqual([]);
    await docker('restart', '-t', '0', 'again');
    expect(uses(on())).toEqual(['Unmount', 'Mount']);
    expect(await mounted()).toEqual(['again']);
    await docker('rm', '-f', 'again');
    await docker('volume', 'rm', 'again');
    expect(await on().left()).toEqual(nothing);
  });

  test('row 11: a container that cannot start leaves nothing mounted', async () => {
    const { docker, dockerFails } = on();
    await docker('volume', 'create', '-d', 'berth', 'unstarted');
    await dockerFails('run', '--rm', '-v', 'unstarted:/p', 'busybox', 'absent-command');
    expect(uses(on())).toEqual(['Mount', 'Unmount']);
    await docker('volume', 'rm', 'unstarted');
    expect(await on().left()).toEqual(nothing);
  });

  test.each(['directory', 'image'] as const)(
    "an empty volume is filled with the image's files at its mountpoint (%s driver)",
    async (driver) => {
      const { docker } = on();
      const name = `filled-${driver}`;
      await docker('run', '--name', name, 'busybox', 'sh', '-c', 'mkdir /p; echo image > /p/file');
      await docker('commit', name, name);
      await docker('rm', name);
      await docker('volume', 'create', '-d', 'berth', ...drivers[driver], name);
      // By the exit code: an engine on a busy machine can lose the output of a short container.
      const look = '[ "$(cat /p/file)" = "$1" ] || { ls -l /p >&2; exit 1; }';
      const mustSee = (text: string) =>
        docker('run', '--rm', '-v', `${name}:/p`, name, 'sh', '-c', look, 'look', text);
      await mustSee('image');
      expect(uses(on())).toEqual(['Mount', 'Unmount', 'Mount', 'Unmount']);
      // Only once: the volume now has files of its own.
      await docker('run', '--rm', '-v', `${name}:/p`, name, 'sh', '-c', 'echo own > /p/file');
      await mustSee('own');
      await docker('volume', 'rm', name);
      expect(await on().left()).toEqual(nothing);
    },
  );

  test('bug report 17, C5: a new volume and a copy belong to whom the options name, and set no user and no device free', async () => {
    const { docker, dockerFails, run, variant } = on();
    const create = (...args: string[]) => docker('volume', 'create', '-d', 'berth', ...args);
    const names = Object.keys(drivers);
    for (const [name, driver] of Object.entries(drivers)) {
      await create(...driver, '-o', 'uid=999', '-o', 'gid=998', '-o', 'mode=0700', name);
    }
    const at = (...paths: string[]) =>
      names.flatMap((name) => paths.flatMap((path) => ['-v', `${name}:/${name}${path}`]));
    // As an unprivileged user, which the kernel asks for the root directory's permissions.
    const use = 'touch /directory/file /image/file; stat -c %u:%g:%a /directory /image';
    expect(await run(['-u', '999:998', ...at('')], use)).toBe('999:998:700\n999:998:700');
    const words = ['-o', 'mount-options=suid,dev,noatime', '-o', 'mode=1777', '-o', 'uid=7'];
    for (const name of names) await create('-o', `from=${name}`, ...words, `copy-${name}`);
    const copies = names.flatMap((name) => ['-v', `copy-${name}:/copy-${name}`]);
    const see = [
      'stat -c %u:%g:%a /copy-*; ls /copy-*/file',
      'for at in "" -ro; do grep -E " /(directory|image)$at " /proc/self/mountinfo; done',
      'grep " /copy-" /proc/self/mountinfo',
    ];
    const flags = [...at('', '-ro:ro'), ...copies];
    const seen = (await run(flags, see.join('; '))).split('\n');
    expect(seen.slice(0, 4)).toEqual([
      ...['7:998:1777', '7:998:1777'],
      ...['/copy-directory/file', '/copy-image/file'],
    ]);
    const [plain, readOnly, free] = [seen.slice(4, 6), seen.slice(6, 8), seen.slice(8)];
    for (const line of plain) expect(line).toMatch(/ rw,nosuid,nodev/);
    // The runc of the older engine forgets all other flags when it makes a mount read-only.
    const kept = variant.docker === '20.10' ? / ro,/ : / ro,nosuid,nodev/;
    for (const line of readOnly) expect(line).toMatch(kept);
    expect(free).toHaveLength(2);
    for (const line of free) {
      expect(line).toMatch(/noatime/);
      expect(line).not.toMatch(/nosuid|nodev/);
    }
    const wrong = await dockerFails('volume', 'create', '-d', 'berth', '-o', 'uid=postgres', 'no');
    expect(wrong).toMatch(/uid="postgres" is not possible: use the number/);
    await docker('volume', 'rm', ...names, ...names.map((name) => `copy-${name}`));
    expect(await on().left()).toEqual(nothing);
  });

  test('a volume in memory keeps its files from container to container, and is on no disk', async () => {
    const { docker, dockerFails, run, host, volumeDir } = on();
    const options = ['-o', 'driver=tmpfs', '-o', 'size=2M', '-o', 'mode=0750'];
    await docker('volume', 'create', '-d', 'berth', ...options, 'memory');
    await run(['-v', 'memory:/p'], 'echo secret > /p/file');
    const see = 'cat /p/file; stat -c %a /p; stat -f -c %T /p; df -k /p | tail -1';
    const seen = await run(['-v', 'memory:/p'], see);
    expect(seen).toMatch(/^secret\n750\ntmpfs\n\S+ +2048 /);
    const copy = ['-o', 'from=memory', 'copy'];
    expect(await dockerFails('volume', 'create', '-d', 'berth', ...copy)).toMatch(/no copies/);
    await docker('volume', 'rm', 'memory');
    expect(await readdir(volumeDir).catch(() => [])).not.toContain('tmpfs');
    const table = await readFile(`/proc/${host.enginePid}/mountinfo`, 'utf8');
    expect(table).not.toContain('berth-volume');
    expect(await on().left()).toEqual(nothing);
  });

  test('an image volume holds no more than its size', async () => {
    const { docker, run, volumeDir } = on();
    await docker('volume', 'create', '-d', 'berth', ...drivers.image, 'small');
    const fill = 'dd if=/dev/zero of=/p/fill bs=1M count=100 2>&1; stat -c %s /p/fill';
    const said = await run(['-v', 'small:/p'], fill);
    expect(said).toContain('No space left on device');
    const bytes = Number(said.split('\n').at(-1));
    expect(bytes).toBeGreaterThan(40 * 2 ** 20);
    expect(bytes).toBeLessThan(64 * 2 ** 20);
    expect(await readdir(join(volumeDir, 'image'))).toContain('small');
    await docker('volume', 'rm', 'small');
    expect(await on().left()).toEqual(nothing);
  });

  test('docker run --mount creates a volume with options', async () => {
    const { docker, run, inspect } = on();
    const mount = [
      ...['type=volume', 'src=made', 'dst=/p', 'volume-driver=berth'],
      ...['volume-opt=driver=image', 'volume-opt=size=32M', 'volume-label=team=harbour'],
    ].join(',');
    await run(['--mount', mount], 'echo data > /p/file');
    const seen = '{{.Status.driver}} {{.Status.size}} {{.Labels.team}}';
    expect(await inspect('made', seen)).toBe('image 32 MiB harbour');
    expect(await run(['--mount', 'type=volume,src=made,dst=/p,readonly'], 'cat /p/file')).toBe(
      'data',
    );
    await docker('volume', 'rm', 'made');
    expect(await on().left()).toEqual(nothing);
  });

  test('docker volume ls filters by label, driver, name and use', async () => {
    const { docker, start } = on();
    const filtered = async (...filters: string[]) => {
      const flags = ['driver=berth', ...filters].flatMap((filter) => ['-f', filter]);
      return (await docker('volume', 'ls', '-q', ...flags)).split('\n');
    };
    await docker('volume', 'create', '-d', 'berth', '--label', 'tier=gold', 'gold');
    await docker('volume', 'create', '-d', 'berth', '--label', 'tier=tin', 'tin');
    await start('digger', '-v', 'gold:/p');
    expect(await filtered()).toEqual(['gold', 'tin']);
    expect(await filtered('label=tier=gold')).toEqual(['gold']);
    expect(await filtered('name=ti')).toEqual(['tin']);
    expect(await filtered('dangling=true')).toEqual(['tin']);
    expect(await filtered('dangling=false')).toEqual(['gold']);
    await docker('rm', '-f', 'digger');
    await docker('volume', 'rm', 'gold', 'tin');
    expect(await on().left()).toEqual(nothing);
  });
});

const remapped = [{ docker: '26.1', store: 'embedded', isRemapped: true }] as const;

describePlugged('userns-remap', { variants: remapped, requirements: ['loop'] }, (on) => {
  test('bug report 10: a new volume belongs to the root of the containers, whatever its driver', async () => {
    const { docker, run, inspect } = on();
    const all = { ...drivers, tmpfs: ['-o', 'driver=tmpfs'] };
    const names = Object.keys(all);
    for (const [name, driver] of Object.entries(all)) {
      await docker('volume', 'create', '-d', 'berth', ...driver, name);
      const format = '{{.Status.options.uid}} {{.Status.options.gid}}';
      expect(await inspect(name, format)).toBe(`${remappedRoot} ${remappedRoot}`);
    }
    await docker('volume', 'create', '-d', 'berth', '-o', 'uid=7', 'given');
    const flags = [...names, 'given'].flatMap((name) => ['-v', `${name}:/${name}`]);
    const use = names.map((name) => `touch /${name}/file; stat -c %u:%g /${name} /${name}/file`);
    const seen = await run(flags, [...use, 'stat -c %u:%g /given'].join('; '));
    expect(seen.split('\n')).toEqual([...names.flatMap(() => ['0:0', '0:0']), '65534:65534']);
    await docker('volume', 'rm', ...names, 'given');
    expect(await on().left()).toEqual(nothing);
  });
});

function uses({ proxy }: PluggedHost): string[] {
  return proxy.methods().filter((method) => method === 'Mount' || method === 'Unmount');
}
