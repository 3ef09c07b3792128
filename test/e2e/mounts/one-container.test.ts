// A volume with access=container, the default of the image driver: one running container, whatever the
// engine's clients do. Real engines and containers; the proxy shows the engine's calls.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { PluggedHost } from '../../support/plugged-host.ts';
import { describePlugged, embeddedVariants, nothing } from '../../support/plugged-host.ts';
import { preparePodman } from '../../support/podman.ts';
import { runProcess } from '../../support/processes.ts';
import { composeProgram } from '../../support/tools.ts';

const image = ['-o', 'driver=image', '-o', 'size=32M'];

const composeFile = `
services:
  db:
    image: database
    network_mode: none
    command: [sleep, '1000']
    stop_grace_period: 0s
    volumes: ['data:/data']
volumes:
  data:
    driver: berth
    driver_opts: { driver: image, size: 32M }
`;

/** An image with content at the place of the volume, as those of databases have. */
async function makeImage({ docker }: PluggedHost): Promise<string> {
  if ((await docker('images', '-q', 'database')) !== '') return 'database';
  await docker(
    'run',
    '--name',
    'seed',
    'busybox',
    'sh',
    '-c',
    'mkdir /data; echo image > /data/made',
  );
  await docker('commit', 'seed', 'database');
  await docker('rm', 'seed');
  return 'database';
}

describePlugged(
  'one container',
  { variants: embeddedVariants, requirements: ['loop', 'compose', 'podman'] },
  (on) => {
    test('clients F1: a second docker run is refused and told who uses the volume since when', async () => {
      const { docker, dockerFails, start, inspect, host, berth, left } = on();
      await docker('volume', 'create', '-d', 'berth', ...image, 'db');
      // Without "volume", it may find a network or an image: "db" is the beginning of an ID, too.
      const access = await docker('volume', 'inspect', '-f', '{{.Status.access}}', 'db');
      expect(access).toBe('container');
      await start('first', '-v', 'db:/data');
      const id = await inspect('first', '{{.Id}}');
      const refusal = await dockerFails(
        'run',
        '--name',
        'second',
        '-v',
        'db:/data',
        'busybox',
        'true',
      );
      expect(refusal).toContain(
        `volume db has access=container and is used by the container first (${id.slice(0, 12)}) on this host`,
      );
      expect(refusal).toMatch(/on this host since 20\d\d-.*berth volume set db access=host/);
      const inherited = ['run', '--rm', '--volumes-from', 'first', 'busybox', 'true'];
      expect(await dockerFails(...inherited)).toContain('is used by the container first');
      // A person who wants to share it says so, and can take that back when one is left.
      await berth.berthOk('volume', 'set', 'db', 'access=host');
      await start('sharing', '-v', 'db:/data');
      const back = await berth.berth('volume', 'set', 'db', 'access=container');
      expect(back.stderr).toMatch(/used by the container (first|sharing) .* and the container/);
      await docker('rm', '-f', 'sharing');
      await berth.berthOk('volume', 'set', 'db', 'access=container');
      expect(await dockerFails(...inherited)).toContain('is used by the container first');
      // The user's own calls go on: a copy, a restart.
      await docker('exec', 'first', 'sh', '-c', 'echo data > /data/file');
      await docker('cp', 'first:/data/file', join(host.directory, 'copied'));
      await docker('restart', '-t', '0', 'first');
      expect(await docker('exec', 'first', 'cat', '/data/file')).toBe('data');
      // When it has ended, another one has the volume.
      await docker('rm', '-f', 'first');
      await docker('start', 'second');
      await docker('rm', '-f', 'second');
      await docker('volume', 'rm', 'db');
      expect(await left()).toEqual(nothing);
    });

    test('clients F5: the successor is created while the old container runs, as Compose does', async () => {
      const { docker, dockerFails, proxy, left } = on();
      const content = await makeImage(on());
      await docker('volume', 'create', '-d', 'berth', ...image, 'pg');
      const flags = ['--stop-timeout', '0', '-v', 'pg:/data', content, 'sleep', '1000'];
      await docker('run', '-d', '--name', 'old', ...flags);
      expect(await docker('exec', 'old', 'cat', '/data/made')).toBe('image');
      await docker('exec', 'old', 'sh', '-c', 'rm /data/made; echo row > /data/table');
      // A container that was created once and never started must not be taken for the one that asks.
      await docker('create', '--name', 'forgotten', ...flags);
      proxy.forget();
      await docker('create', '--name', 'new', ...flags);
      expect([proxy.count('Mount'), proxy.count('Unmount')]).toEqual([1, 1]);
      expect(await dockerFails('start', 'new')).toContain('is used by the container old');
      expect(await docker('exec', 'old', 'ls', '/data')).toBe('table');
      await docker('stop', 'old');
      await docker('rm', 'old');
      await docker('start', 'new');
      expect(await docker('exec', 'new', 'cat', '/data/table')).toBe('row');
      expect(await dockerFails('start', 'forgotten')).toContain('is used by the container new');
      await docker('rm', '-f', 'new', 'forgotten');
      await docker('volume', 'rm', 'pg');
      expect(await left()).toEqual(nothing);
    });

    test('clients F1, F5: Compose replaces a service, and does not scale it', async () => {
      const { docker, host, inspect, left } = on();
      await makeImage(on());
      const file = join(host.directory, 'compose.yaml');
      await writeFile(file, composeFile);
      const compose = async (...args: string[]) =>
        runProcess(composeProgram(), ['-f', file, '-p', 'shop', ...args], {
          env: { DOCKER_HOST: `unix://${host.dockerSocket}`, HOME: host.directory },
        });
      expect(await compose('up', '-d')).toMatchObject({ code: 0 });
      const first = await inspect('shop-db-1', '{{.Id}}');
      await docker('exec', 'shop-db-1', 'sh', '-c', 'echo row > /data/table');
      expect(await compose('up', '-d', '--force-recreate')).toMatchObject({ code: 0 });
      expect(await inspect('shop-db-1', '{{.Id}}')).not.toBe(first);
      expect(await docker('exec', 'shop-db-1', 'cat', '/data/table')).toBe('row');

      const scaled = await compose('up', '-d', '--scale', 'db=2');
      expect(scaled.code).not.toBe(0);
      expect(scaled.stderr).toContain('is used by the container shop-db-1');
      const running = await docker('ps', '--filter', 'volume=shop_data', '--format', '{{.Names}}');
      expect(running).toBe('shop-db-1');
      expect(await compose('down', '-v')).toMatchObject({ code: 0 });
      expect(await left()).toEqual(nothing);
    });

    test('scenario 46, clients F4: Podman is refused a volume for one container, with the reason', async () => {
      const { host, docker, left } = on();
      await using podman = await preparePodman(host);
      const flags = ['--driver', 'berth', '-o', 'access=container'];
      expect(await podman.podman('volume', 'create', ...flags, 'pod-one')).toMatchObject({
        code: 0,
      });
      const refused = await podman.start('p1', 'pod-one');
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toMatch(
        /can't be kept with Podman.*berth volume set pod-one access=host/,
      );
      expect(await podman.podman('rm', '-f', 'p1')).toMatchObject({ code: 0 });

      await docker('volume', 'rm', 'pod-one');
      expect(await left()).toEqual(nothing);
    });

    test('one container has the volume at two places', async () => {
      const { docker, start, left } = on();
      await docker('volume', 'create', '-d', 'berth', ...image, 'two-places');
      await start('both', '-v', 'two-places:/p', '-v', 'two-places:/q');
      await docker('exec', 'both', 'sh', '-c', 'echo data > /p/file');
      expect(await docker('exec', 'both', 'cat', '/q/file')).toBe('data');
      await docker('rm', '-f', 'both');
      await docker('volume', 'rm', 'two-places');
      expect(await left()).toEqual(nothing);
    });

    test('of many containers that start at once, one runs', async () => {
      const { docker, host, left } = on();
      await docker('volume', 'create', '-d', 'berth', ...image, 'race');
      const names = ['r1', 'r2', 'r3', 'r4'];
      const flags = ['-d', '--stop-timeout', '0', '-v', 'race:/data', 'busybox', 'sleep', '1000'];
      const runs = await Promise.all(
        names.map((name) => host.docker('run', '--name', name, ...flags)),
      );
      expect(runs.filter(({ code }) => code === 0)).toHaveLength(1);
      expect((await docker('ps', '-q', '--filter', 'volume=race')).split('\n')).toHaveLength(1);
      await docker('rm', '-f', ...names);
      await docker('volume', 'rm', 'race');
      expect(await left()).toEqual(nothing);
    });
  },
);
