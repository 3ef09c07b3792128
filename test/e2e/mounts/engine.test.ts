// Engines and plugins that start late, stop and fail. Real engines on both stores; real time.
import { rename } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { allVariants, describePlugged, embeddedVariants } from '../../support/plugged-host.ts';
import { startProcess, waitFor } from '../../support/processes.ts';
import { dockerTools } from '../../support/tools.ts';

describePlugged(
  'a plugin that starts late',
  { variants: embeddedVariants, isPlugged: false },
  (on) => {
    test('scenario 7: a plugin that appears 2 s after the request executes it once', async () => {
      const { docker, proxy, store } = on();
      const creating = docker('volume', 'create', '-d', 'berth', 's7');
      await delay(2_000);
      await proxy.open();
      expect(await creating).toBe('s7');
      expect(proxy.methods()).toEqual(['Activate', 'Capabilities', 'Get', 'Create']);
      expect(Object.keys(await store.records())).toEqual(['s7']);

      // The engine knows the plugin by now; the plugin disappears for a moment.
      await proxy.close();
      proxy.forget();
      const removing = docker('volume', 'rm', 's7');
      await delay(1_500);
      await proxy.open();
      await removing;
      expect(proxy.count('Remove')).toBe(1);
      expect(proxy.count('Activate')).toBe(0);
      expect(await store.records()).toEqual({});
    });

    test('scenario 6: while one driver does not answer, the others work', async () => {
      const { docker, run, host, proxy, variant } = on();
      await docker('volume', 'create', '-d', 'berth', 's6');
      await proxy.close();
      const down = host.docker('volume', 'create', '-d', 'berth', 's6-later');
      await docker('volume', 'create', '-d', 'local', 's6-local');
      await run(['-v', 's6-local:/p'], 'true');
      await proxy.open();
      expect((await down).code).toBe(0);

      // Now another driver fails: it closes each connection.
      const socket = host.pathOf('/run/docker/plugins/absent.sock');
      const hangingUp = createServer((connection) => connection.destroy()).listen(socket);
      const { docker: client } = dockerTools(variant.docker);
      await using asking = startProcess(client, ['volume', 'create', '-d', 'absent', 's6-absent'], {
        env: { DOCKER_HOST: `unix://${host.dockerSocket}` },
      });
      await run(['-v', 's6:/p'], 'echo data > /p/file');
      await docker('volume', 'rm', 's6', 's6-later', 's6-local');
      expect(asking.hasExited).toBe(false);
      hangingUp.close();
    });
  },
);

describePlugged('engines', { variants: allVariants }, (on) => {
  test('scenario 11: after a restart the engine still knows the driver of each volume', async () => {
    const { docker, run, host, proxy, inspect, mounted, store } = on();
    await docker('volume', 'create', '-d', 'berth', '--label', 'tier=gold', 's11');
    await docker('volume', 'create', '-d', 'berth', '-o', 'access=container', 's11-options');
    await run(['-v', 's11:/p'], 'echo data > /p/file');
    await docker('create', '--name', 's11', '-v', 's11:/p', 'busybox', 'cat', '/p/file');
    await host.killEngine('SIGTERM');
    await host.startEngine();
    expect(await inspect('s11', '{{range .Mounts}}{{.Driver}}{{end}}')).toBe('berth');
    const told = '{{.Driver}} {{.Labels.tier}}';
    expect(await docker('volume', 'inspect', '-f', told, 's11')).toBe('berth gold');
    expect(await docker('volume', 'inspect', '-f', '{{json .Options}}', 's11-options')).toBe(
      '{"access":"container"}',
    );
    expect(proxy.count('Activate')).toBe(2);
    expect(await docker('start', '-a', 's11')).toBe('data');
    expect(await run(['-v', 's11:/p'], 'cat /p/file')).toBe('data');
    await waitFor(async () => (await mounted()).length === 0, 5_000, 'the unmount');
    await docker('rm', 's11');
    await docker('volume', 'rm', 's11', 's11-options');
    expect(await store.locks()).toEqual([]);
  });

  test('scenario 16: a volume that was removed elsewhere can be created again', async () => {
    const { docker, run, inspect, call, store } = on();
    const create = (...options: string[]) => docker('volume', 'create', ...options, 's16');
    await create('-d', 'berth', '--label', 'tier=gold');
    await run(['-v', 's16:/p'], 'echo data > /p/file');
    expect((await call('Remove', { Name: 's16' })).body).toEqual({ Err: '' });
    await create('-d', 'berth', '-o', 'access=container', '--label', 'tier=tin');
    expect(await inspect('s16', '{{.Status.access}} {{.Labels.tier}}')).toBe('container tin');
    expect(await run(['-v', 's16:/p'], 'ls /p')).toBe('');
    await call('Remove', { Name: 's16' });
    await create('-d', 'local');
    expect(await inspect('s16', '{{.Driver}}')).toBe('local');
    await docker('volume', 'rm', 's16');
    expect(await store.records()).toEqual({});
  });

  test.each([
    ['', []],
    [' in its working directory', ['-w', '/p']],
  ])(
    'row 12, scenario 17: a container with a volume%s does not start when its Mount fails',
    async (_where, flags) => {
      const { docker, dockerFails, proxy, volumeDir, mounted, store, inspect, run } = on();
      const name = `s17${flags.length}`;
      await docker('volume', 'create', '-d', 'berth', name);
      const home = join(volumeDir, 'directory', name);
      await rename(home, `${home}.away`);
      const complaint = await dockerFails(
        ...['run', '--name', name, ...flags, '-v', `${name}:/p`, 'busybox', 'true'],
      );
      expect(complaint).toContain(`the storage of volume ${name} is not there`);
      expect(proxy.count('Mount')).toBeGreaterThan(0);
      expect(proxy.count('Unmount')).toBe(0);
      expect(await mounted()).toEqual([]);
      expect(await store.locks()).toEqual([]);
      await rename(`${home}.away`, home);
      // With -w the engine mounts the volume while it creates the container, so no container exists
      // then.
      if (flags.length === 0) {
        expect(await inspect(name, '{{.State.Status}} {{.State.StartedAt}}')).toBe(
          'created 0001-01-01T00:00:00Z',
        );
        await docker('start', '-a', name);
        await docker('rm', name);
      } else {
        await docker('rm', '-f', name);
      }
      await run(['-v', `${name}:/p`], 'echo data > /p/file');
      await docker('volume', 'rm', name);
      expect(await mounted()).toEqual([]);
      expect(await store.locks()).toEqual([]);
    },
  );
});
