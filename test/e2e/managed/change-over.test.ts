// A host goes over from a berth on the host to the managed plugin, and back, as docs/managed-plugin.md
// says. A real engine; the plugin's root file system is made of this machine's programs.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startBerth } from '../../support/berth.ts';
import { describeWith } from '../../support/requirements.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import type { ManagedHost } from './managed-host.ts';
import { buildPlugin, pluginName as plugin, startManagedHost } from './managed-host.ts';

describeWith(['docker', 'loop'], 'a berth on the host and the managed plugin', () => {
  let temporary: TemporaryDirectory;
  let on: ManagedHost;
  beforeAll(async () => {
    temporary = await makeTemporaryDirectory();
    on = await startManagedHost({ docker: '26.1', plugin: await buildPlugin(temporary.path) });
  });
  afterAll(async () => {
    await on?.[Symbol.asyncDispose]();
    await temporary?.[Symbol.asyncDispose]();
  });

  const onHost = () =>
    startBerth(on.host, { volumeDir: on.volumeDir, flags: ['--state-dir', on.stateDir] });
  /** Removes what a stopped engine has stored of volumes: their names, drivers and options. */
  async function forgetVolumes(): Promise<void> {
    const metadata = join(on.host.directory, 'engine/data/volumes/metadata.db');
    await rename(metadata, `${metadata}.old`);
  }
  const driverOf = (volume: string) =>
    on.docker('volume', 'ls', '--filter', `name=${volume}`, '--format', '{{.Driver}}');

  test('F6: the engine does not find the volumes of the one with the other until it forgets them; content stays', async () => {
    const berth = await onHost();
    await on.docker('volume', 'create', '-d', 'berth', 'db');
    await on.docker('volume', 'create', 'notes');
    await on.run('db:/p', 'echo host > /p/file');
    await on.run('notes:/p', 'echo notes > /p/file');
    await berth.stop();
    await on.docker('plugin', 'enable', plugin);
    await on.host.killEngine('SIGTERM');
    await on.host.startEngine();
    // The engine looks for the driver of that name only, and makes an empty volume of its own.
    expect(await on.run('db:/p', 'ls /p')).toBe('');
    expect(await driverOf('db')).toBe('local');
    await on.docker('volume', 'rm', 'db');

    await on.host.killEngine('SIGTERM');
    await forgetVolumes();
    await on.host.startEngine();
    expect(await on.run('db:/p', 'cat /p/file; echo plugin >> /p/file')).toBe('host');
    expect(await driverOf('db')).toBe(plugin);
    expect(await on.run('notes:/p', 'cat /p/file')).toBe('notes');

    await on.docker('plugin', 'disable', '--force', plugin);
    await on.host.killEngine('SIGTERM');
    await forgetVolumes();
    await on.host.startEngine();
    const back = await onHost();
    expect(await on.run('db:/p', 'cat /p/file')).toBe('host\nplugin');
    expect(await driverOf('db')).toBe('berth');
    await back.stop();
  });
});
