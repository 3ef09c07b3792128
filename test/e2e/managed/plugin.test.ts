// The managed plugin, installed in real engines of both versions. Its root file system is made of
// this machine's programs. Real time.
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { visibleNames } from '../../../lib/volumes/drivers/stored-volume.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { dockerVersions } from '../../support/tools.ts';
import type { ManagedHost } from './managed-host.ts';
import { buildPlugin, pluginName as plugin, startManagedHost } from './managed-host.ts';

// At each enable, the engine waits 3 s before it checks again whether the plugin serves.
let temporary: TemporaryDirectory;
let directory: string;
beforeAll(async () => {
  temporary = await makeTemporaryDirectory();
  directory = await buildPlugin(temporary.path);
});
afterAll(async () => {
  await temporary[Symbol.asyncDispose]();
});

for (const version of dockerVersions) {
  // These tests share one host, each with its own volumes, and leave the plugin enabled.
  describeWith(['docker', 'loop', 'etcd'], `the managed plugin: Docker ${version}`, () => {
    let on: ManagedHost;
    beforeAll(async () => {
      on = await startManagedHost({ docker: version, plugin: directory });
      await on.docker('plugin', 'enable', plugin);
    });
    afterAll(async () => {
      await on?.[Symbol.asyncDispose]();
    });

    /** Changes settings, for which the plugin must be disabled. */
    async function set(...values: string[]): Promise<void> {
      await on.docker('plugin', 'disable', plugin);
      await on.docker('plugin', 'set', plugin, ...values);
      await on.docker('plugin', 'enable', plugin);
    }

    test('scenarios 25 and 26: the plugin gets /dev, its binds, a propagated mount and the host network', async () => {
      expect(await on.docker('plugin', 'ls', '--filter', 'capability=volumedriver')).toMatch(
        /true/,
      );
      const table = await on.daemonMounts();
      expect(table).toEqual(expect.arrayContaining(['/dev', '/mnt/berth', '/srv/berth']));
      const saysHost = () => on.log().includes(`host: ${on.host.name}`);
      await waitFor(saysHost, 10_000, 'the engine to write what the plugin has printed');
      // The operator's admin socket, reachable from outside the plugin.
      expect(existsSync(join(on.stateDir, 'admin.sock'))).toBe(true);
    });

    test('scenario 21: a container reads the data of the previous one', async () => {
      await on.docker('volume', 'create', '-d', plugin, 's21');
      await on.run('s21:/p', 'echo data > /p/file');
      expect(await on.run('s21:/p', 'cat /p/file')).toBe('data');
      expect(await readdir(join(on.volumeDir, 'directory/s21/data'))).toEqual(['file']);
      expect(await on.mounted()).toEqual([]);
      await on.docker('volume', 'rm', 's21');
      expect(await visibleNames(join(on.volumeDir, 'directory'))).toEqual([]);
    });

    test('scenarios 19, 20 and 22: the plugin cannot be disabled while the engine knows one of its volumes', async () => {
      await on.docker('volume', 'create', '-d', plugin, '--label', 'a=b', 's22');
      expect(await on.dockerFails('plugin', 'disable', plugin)).toContain('in use');
      await on.host.killEngine('SIGTERM');
      await on.host.startEngine();
      expect(await on.docker('volume', 'inspect', '-f', '{{.Labels.a}}', 's22')).toBe('b');
      expect(await on.dockerFails('plugin', 'disable', plugin)).toContain('in use');
      expect(await on.dockerFails('plugin', 'rm', plugin)).toContain('in use');
      await on.docker('volume', 'rm', 's22');
      await on.docker('plugin', 'disable', plugin);
      await on.docker('plugin', 'enable', plugin);
    });

    test('scenario 23: a disabled plugin does not disturb the engine', async () => {
      await on.docker('volume', 'create', '-d', plugin, 's23');
      await on.run('s23:/p', 'echo data > /p/file');
      await on.docker('plugin', 'disable', '--force', plugin);
      expect(await on.docker('volume', 'ls', '-q')).toBe('');
      expect(await on.dockerFails('run', '--rm', '-v', 's23:/p', 'busybox')).toContain('disabled');
      expect(await on.dockerFails('plugin', 'disable', plugin)).toContain('in use');
      await on.docker('plugin', 'enable', plugin);
      expect(await on.docker('volume', 'ls', '-q')).toBe('s23');
      expect(await on.run('s23:/p', 'cat /p/file')).toBe('data');
      await on.docker('volume', 'rm', 's23');
    });

    test('scenario 24: only valid settings are accepted, and only while the plugin is disabled', async () => {
      const refuses = async (value: string, why: string) =>
        expect(await on.dockerFails('plugin', 'set', plugin, value)).toContain(why);
      await refuses('BERTH_DRIVER=image', 'cannot set on an active plugin');
      await on.docker('plugin', 'disable', plugin);
      await refuses('BERTH_NAME=other', 'not found');
      await refuses('BERTH_STATE_DIR=/other', 'not found');
      await refuses('BERTH_MOUNT_DIR=/other', 'not settable');
      await refuses('state.destination=/other', 'not settable');
      await refuses('devices.source=/other', 'not settable');
      await refuses('other.source=/other', 'not found');

      const other = join(on.host.directory, 'other');
      await on.docker('plugin', 'set', plugin, 'BERTH_DRIVER=image', `volumes.source=${other}`);
      expect(await on.dockerFails('plugin', 'enable', plugin)).toContain('no such file');
      await mkdir(other);
      await on.docker('plugin', 'enable', plugin);
      await on.docker('volume', 'create', '-d', plugin, 's24');
      expect(await readdir(join(other, 'image/s24'))).toContain('volume.img');
      await on.docker('volume', 'rm', 's24');
      // As somebody who moves a pool: its mark comes with it.
      const pool = join(on.volumeDir, 'image');
      await mkdir(pool, { recursive: true });
      await copyFile(join(other, 'image/.berth-pool'), join(pool, '.berth-pool'));
      await set('BERTH_DRIVER=', `volumes.source=${on.volumeDir}`);
    });

    test('the plugin sees a file system that is mounted after its start', async () => {
      const mark = await readFile(join(on.volumeDir, 'directory/.berth-pool'), 'utf8');
      // Shared mounts, as systemd makes them.
      await on.docker('plugin', 'disable', plugin);
      await on.host.execOk('mount', '--bind', '--make-shared', on.volumeDir, on.volumeDir);
      await on.docker('plugin', 'enable', plugin);
      await on.host.execOk('mount', '-t', 'tmpfs', 'later', on.volumeDir);
      expect((await on.daemonMounts()).filter((path) => path === '/srv/berth')).toHaveLength(2);
      const create = ['volume', 'create', '-d', plugin, 'later'] as const;
      expect(await on.dockerFails(...create)).toContain('has no mark of this cluster');
      await on.host.execOk('mkdir', join(on.volumeDir, 'directory'));
      const pool = join(on.volumeDir, 'directory/.berth-pool');
      await on.host.execOk('sh', '-c', `echo ${mark.trim()} > ${pool}`);
      await on.docker(...create);
      expect(await on.host.execOk('ls', join(on.volumeDir, 'directory'))).toBe('later');
      await on.docker('volume', 'rm', 'later');
      await on.docker('plugin', 'disable', plugin);
      await on.host.execOk('umount', '--recursive', on.volumeDir);
      await on.docker('plugin', 'enable', plugin);
    });

    test('an image volume is mounted inside the plugin, and its containers see it with its size', async () => {
      const options = ['-o', 'driver=image', '-o', 'size=32M', '-o', 'access=host'];
      await on.docker('volume', 'create', '-d', plugin, ...options, 'sized');
      await on.start('sized-user', 'sized');
      expect(await on.exec('sized-user', 'grep " /p " /proc/mounts')).toMatch(/^\/dev\/loop\d+ /);
      expect(
        await on.exec('sized-user', 'dd if=/dev/zero of=/p/a bs=1M count=20 2>&1'),
      ).toBeTruthy();
      const tooMuch = 'dd if=/dev/zero of=/p/b bs=1M count=20 2>&1 || true';
      expect(await on.exec('sized-user', tooMuch)).toContain('No space left on device');
      // A second container shares the mount.
      expect(await on.run('sized:/q', 'ls /q')).toBe('a\nb');
      expect(await on.exec('sized-user', 'ls /p')).toBe('a\nb');
      await on.docker('rm', '-f', 'sized-user');
      expect(await on.mounted()).toEqual([]);
      await on.docker('volume', 'rm', 'sized');
    });

    test('the engine restarts a killed plugin, and the container keeps its data', async () => {
      const options = ['-o', 'driver=image', '-o', 'size=32M', '-o', 'access=host'];
      await on.docker('volume', 'create', '-d', plugin, ...options, 'killed');
      await on.start('killed-user', 'killed');
      await on.exec('killed-user', 'echo before > /p/file');
      const before = await on.daemonPid();
      process.kill(before, 'SIGKILL');
      await waitFor(
        async () => ![0, before].includes(await on.daemonPid()),
        10_000,
        'the engine to restart the plugin',
      );
      await waitFor(() => on.docker('volume', 'inspect', 'killed'), 10_000, 'the plugin to serve');
      // Longer than the reconciler waits before it drops unused mounts.
      await delay(4_000);
      expect(await on.exec('killed-user', 'cat /p/file; echo after >> /p/file')).toBe('before');
      expect(await on.run('killed:/q', 'cat /q/file')).toBe('before\nafter');
      await on.docker('cp', 'killed-user:/p/file', '-');
      expect((await on.daemonMounts()).filter((path) => path.endsWith('/killed'))).toHaveLength(1);
      await on.docker('stop', 'killed-user');
      expect(await on.mounted()).toEqual([]);
      expect(await on.table()).toEqual({});
      await on.docker('start', 'killed-user');
      expect(await on.exec('killed-user', 'cat /p/file')).toBe('before\nafter');
      await on.docker('rm', '-f', 'killed-user');
      await on.docker('volume', 'rm', 'killed');
    });

    test('scenario 20: mounts end with a killed engine, and restarted containers get them again', async () => {
      const options = ['-o', 'driver=image', '-o', 'size=32M'];
      await on.docker('volume', 'create', '-d', plugin, ...options, 'image');
      await on.docker('volume', 'create', '-d', plugin, 'tree');
      await on.docker('volume', 'create', '-d', plugin, 'left');
      await on.start('image-user', 'image', '--restart', 'always');
      await on.start('tree-user', 'tree', '--restart', 'always');
      await on.start('left-user', 'left');
      for (const name of ['image', 'tree', 'left']) {
        await on.exec(`${name}-user`, 'echo data > /p/file');
      }
      await on.host.killEngine('SIGKILL');
      await on.host.startEngine();
      for (const name of ['image', 'tree']) {
        const isUp = () => on.exec(`${name}-user`, 'cat /p/file');
        expect(await waitFor(isUp, 10_000, `${name} to run again`)).toBe('data');
      }
      // The engine sends no Unmount for this dead container.
      await waitFor(
        async () => !('left' in (await on.table())),
        15_000,
        'the unused mount to be dropped',
      );
      expect(await on.mounted()).toEqual(['image', 'tree']);
      await on.docker('stop', 'image-user', 'tree-user');
      expect(await on.mounted()).toEqual([]);
      expect(await on.table()).toEqual({});
      await on.docker('rm', 'image-user', 'tree-user', 'left-user');
      await on.docker('volume', 'rm', 'image', 'tree', 'left');
    });

    test('scenarios 25 and 45: a plugin upgraded below a container keeps the lock until the container ends', async () => {
      await on.docker('volume', 'create', '-d', plugin, 'forced');
      await on.start('forced-user', 'forced');
      await on.docker('plugin', 'disable', '--force', plugin);
      expect(await on.mounted()).toEqual([]);
      // The same as `docker plugin upgrade`, which takes plugins only from a registry.
      const main = on.installed('opt/berth/dist/plugin/main.js');
      const next = `process.stderr.write('the next version\\n');`;
      await writeFile(main, `${next}\n${await readFile(main, 'utf8')}`);
      await on.docker('plugin', 'enable', plugin);
      expect(on.log()).toContain('the next version');
      await delay(4_000);
      await on.exec('forced-user', 'echo data > /p/file');
      const holder = '{{.Status.holder.reason}}';
      expect(await on.docker('volume', 'inspect', '-f', holder, 'forced')).toBe('Mount');
      expect(await on.run('forced:/q', 'cat /q/file')).toBe('data');
      await on.docker('rm', '-f', 'forced-user');
      await waitFor(
        async () => Object.keys(await on.table()).length === 0,
        5_000,
        'the lock to be released',
      );
      expect(await on.mounted()).toEqual([]);
      await on.docker('volume', 'rm', 'forced');
    });

    // The engine has no part in the rest of these.
    if (version === dockerVersions.at(-1)) {
      test('the plugin shares its volumes through etcd, with certificates of the host', async () => {
        await using etcd = await startEtcd({ in: on.host, tls: true });
        const folder = dirname(etcd.tls?.ca ?? '');
        await set(
          ...[`BERTH_STORE=${etcd.url}`, 'BERTH_PREFIX=/lab', 'BERTH_HOST=n1', 'BERTH_TTL=5s'],
          ...[`etcd.source=${folder}`, 'BERTH_ETCD_CA=/etc/berth/ca.pem'],
          ...['BERTH_ETCD_CERT=/etc/berth/cert.pem', 'BERTH_ETCD_KEY=/etc/berth/key.pem'],
        );
        const markPath = join(on.volumeDir, 'directory/.berth-pool');
        const mark = await readFile(markPath, 'utf8');
        const create = ['volume', 'create', '-d', plugin, 'shared'] as const;
        expect(await on.dockerFails(...create)).toContain('belongs to another cluster');
        await rm(markPath); // The pool is empty, so the next cluster may have it.
        await on.docker(...create);
        await on.start('shared-user', 'shared');
        const format = '{{.Scope}} {{.Status.holder.host}}';
        expect(await on.docker('volume', 'inspect', '-f', format, 'shared')).toBe('global n1');
        expect(await etcd.ctlOk('get', '--prefix', '/lab', '--keys-only')).toContain('shared');
        await on.docker('rm', '-f', 'shared-user');
        await on.docker('volume', 'rm', 'shared');
        await set(
          ...['BERTH_STORE=', 'BERTH_PREFIX=', 'BERTH_HOST=', 'BERTH_TTL='],
          ...['BERTH_ETCD_CA=', 'BERTH_ETCD_CERT=', 'BERTH_ETCD_KEY='],
          `etcd.source=${on.stateDir}`,
        );
        await writeFile(markPath, mark);
      });

      test('the plugin can be enabled while its store does not answer', async () => {
        await set('BERTH_STORE=etcd://127.0.0.1:1');
        expect(await on.docker('volume', 'ls', '-q')).toBe('');
        await set('BERTH_STORE=');
      });
    }

    // Must be the last test: it removes the plugin.
    test("scenario 23: a forced removal of the plugin leaves the volumes' storage", async () => {
      await on.docker('volume', 'create', '-d', plugin, 'kept');
      expect(await on.dockerFails('plugin', 'rm', plugin)).toContain('in use');
      await on.docker('plugin', 'rm', '--force', plugin);
      expect(await on.docker('plugin', 'ls', '-q')).toBe('');
      expect(await on.docker('volume', 'ls', '-q')).toBe('');
      expect(await visibleNames(join(on.volumeDir, 'directory'))).toEqual(['kept']);
    });
  });
}

describeWith(['docker', 'loop'], 'the managed plugin: Docker 26.1 with live-restore', () => {
  test('scenarios 20 and 22: volume, container and plugin outlive stopped and killed engines', async () => {
    const engineFlags = ['--live-restore'];
    await using on = await startManagedHost({ docker: '26.1', plugin: directory, engineFlags });
    await on.docker('plugin', 'enable', plugin);
    const options = ['-o', 'driver=image', '-o', 'size=32M', '-o', 'access=host'];
    await on.docker('volume', 'create', '-d', plugin, ...options, 'live');
    await on.start('live-user', 'live');
    await on.exec('live-user', 'echo data > /p/file');
    const pid = await on.daemonPid();
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await on.host.killEngine(signal);
      await on.host.startEngine();
      expect(await on.daemonPid()).toBe(pid);
      expect(await on.dockerFails('plugin', 'disable', plugin)).toContain('in use');
      expect(await on.run('live:/q', 'cat /q/file')).toBe('data');
    }
    await on.docker('rm', '-f', 'live-user');
    expect(await on.mounted()).toEqual([]);
    await on.docker('volume', 'rm', 'live');
    await on.docker('plugin', 'disable', plugin);
  });
});

test('build-plugin.mjs reports its wrong arguments and leaves no files', async () => {
  const script = join(import.meta.dirname, '../../../deploy/build-plugin.mjs');
  const there = join(temporary.path, 'there');
  await mkdir(there);
  await expect(runOk('node', [script])).rejects.toThrow('give one NAME, or --output DIR');
  await expect(runOk('node', [script, '--rootfs-from-host', '--output', there])).rejects.toThrow(
    'EEXIST',
  );
  expect(await readdir(there)).toEqual([]);
});
