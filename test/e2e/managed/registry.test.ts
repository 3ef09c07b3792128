// The managed plugin from a real registry: installed with a source of its own, and upgraded. The engine
// (26.1) keeps the settings, but starts the upgraded plugin with the default sources. Real time.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { visibleNames } from '../../../lib/volumes/drivers/stored-volume.ts';
import { runBerth } from '../../support/berth-command.ts';
import type { Host } from '../../support/host.ts';
import { lingering, startHost } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import { startRegistry } from '../../support/registry.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { buildPlugin } from './managed-host.ts';

/** Gives the host the default sources of the plugin, which it does not share with this machine. */
const defaultSources = (socket: string) => `
mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/berth/volumes
touch /run/docker.sock
mount --bind ${socket} /run/docker.sock`;

/** Pushes two releases of the plugin, and leaves none in the engine; returns their names. */
async function publish(host: Host, address: string, directory: string): Promise<string[]> {
  const main = join(directory, 'rootfs/opt/berth/dist/plugin/main.js');
  const text = await readFile(main, 'utf8');
  const names: string[] = [];
  for (const release of [1, 2]) {
    await writeFile(main, `process.stderr.write('release ${release}\\n');\n${text}`);
    const name = `${address}/lab/volumes:${release}`;
    await host.dockerOk('plugin', 'create', name, directory);
    await host.dockerOk('plugin', 'push', name);
    await host.dockerOk('plugin', 'rm', name);
    names.push(name);
  }
  return names;
}

describeWith(['docker', 'registry'], 'the managed plugin from a registry', () => {
  test('bug F3: an upgrade resets the source of the volumes: no volume is touched until it is set again', async () => {
    await using stack = new AsyncDisposableStack();
    const directory = await buildPlugin(stack.use(await makeTemporaryDirectory()).path);
    const host = stack.use(await startHost({ docker: '26.1' }));
    const registry = stack.use(await startRegistry(host));
    const docker = host.dockerOk;
    await host.execOk('sh', '-c', defaultSources(host.dockerSocket));
    const [first = '', second = ''] = await publish(host, registry.address, directory);
    const shared = join(host.directory, 'shared');
    await mkdir(shared);
    const source = `volumes.source=${shared}`;
    const enable = () => docker('plugin', 'enable', '--timeout', '60', 'berth');
    const flags = ['--grant-all-permissions', '--alias', 'berth', '--disable'];
    await docker('plugin', 'install', ...flags, first, source);
    await enable();
    expect(host.engineOutput()).toContain('release 1');
    await docker('volume', 'create', '-d', 'berth', 'db');
    const run = (script: string) =>
      docker('run', '--rm', '-v', 'db:/p', 'busybox', 'sh', '-c', lingering(script));
    await run('echo precious > /p/file');
    expect(await visibleNames(join(shared, 'directory'))).toEqual(['db']);

    await docker('plugin', 'disable', '--force', 'berth');
    const accepted = ['--grant-all-permissions', '--skip-remote-check'];
    await docker('plugin', 'upgrade', ...accepted, 'berth', second);
    await enable();
    expect(host.engineOutput()).toContain('release 2');
    // The engine shows the source as it was set, and does not use it.
    expect(await docker('plugin', 'inspect', 'berth')).toContain(shared);
    const path = host.pathOf('/var/lib/berth/admin.sock');
    const conditions = async () => (await runBerth('status', { path })).stdout;
    await waitFor(
      async () => (await conditions()).includes('has no mark of this cluster'),
      20_000,
      'the condition of a wrong directory',
    );
    for (const command of ['create -d berth stray', 'rm db']) {
      const { code, stderr } = await host.docker('volume', ...command.split(' '));
      expect([command, code, stderr]).toEqual([
        ...[command, 1, expect.stringContaining('has no mark of this cluster')],
      ]);
    }
    const doctor = (await runBerth('doctor', { path })).stdout;
    expect(doctor).toContain('has no mark of this cluster');
    expect(doctor).not.toContain('docker volume rm');
    expect(await readdir(host.pathOf('/var/lib/berth/volumes'))).toEqual([]);

    await docker('plugin', 'disable', '--force', 'berth');
    await docker('plugin', 'set', 'berth', source);
    await enable();
    expect(await run('cat /p/file')).toBe('precious');
    await docker('volume', 'rm', 'db');
    expect(await visibleNames(join(shared, 'directory'))).toEqual([]);
    await docker('plugin', 'disable', '--force', 'berth');
  });
});
